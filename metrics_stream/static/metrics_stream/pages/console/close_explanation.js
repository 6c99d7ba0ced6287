// What a close code means, in full sentences, for a developer of a client.

import { mayReturn } from "../../client/close_codes.js";

/** Code → its name, and what happened. */
const MEANINGS = new Map([
  [1000, ["Normal closure", "The connection has served its purpose."]],
  [1001, ["Going away", "The server stops, or the page was closed."]],
  [1002, ["Protocol error", "One side broke the WebSocket protocol itself."]],
  [1003, ["Unsupported data", "The server does not accept this kind of data."]],
  [1005, ["No code", "The connection was closed without a code."]],
  [
    1006,
    ["Abnormal closure", "The connection ended without a closing handshake: the server died, or the network broke."],
  ],
  [1007, ["Invalid text", "A text message was not valid UTF-8."]],
  [1008, ["Policy violation", "A message broke a rule of the server."]],
  [1009, ["Message too big", "A message was larger than the server accepts."]],
  [1011, ["Server error", "The server had an internal error; its log has the details."]],
  [1012, ["Service restart", "The server restarts."]],
  [1013, ["Try again later", "The server is busy."]],
  [1014, ["Bad gateway", "A proxy got no valid answer from the server."]],
  [1015, ["TLS failed", "No secure connection could be made."]],
  [4001, ["Server going away", "The server stops or restarts."]],
  [4005, ["Authentication expired", "The sign-in of this connection has expired."]],
  [4008, ["Slow consumer", "The client did not read its frames for so long that the server closed the connection."]],
  [4013, ["Over capacity", "This server process has as many clients as it accepts."]],
  [4029, ["Too many messages", "More messages were sent than the limits allow."]],
  [4501, ["Bad protocol", "Too many messages within a minute were answered with an error."]],
  [4502, ["Not authenticated", "The sign-in has ended, or it did not come in time."]],
  [4503, ["Forbidden", "This client may not see what it requested, or no longer may."]],
  [4509, ["Message too big", "A message was larger than the server accepts."]],
]);

/** Why no connection was made. Browsers tell pages no more, so that pages cannot explore networks. */
const NEVER_OPENED =
  "No connection was made. A browser does not tell a page why: the server may be down, the address or path may be " +
  "wrong, or the server may refuse this page’s origin.";

/**
 * @param {{code: number, reason: string, wasOpen: boolean, byUs: boolean}} closing
 * @returns {{title: string, meaning: string, advice: string, level: "quiet" | "warn" | "bad"}}
 */
export function explainClosing({ code, reason, wasOpen, byUs }) {
  if (byUs) {
    return { title: "Disconnected", meaning: "You closed the connection.", advice: "", level: "quiet" };
  }
  const back = mayReturn(code);
  const level = back ? "warn" : "bad";
  if (!wasOpen && code === 1006) return { title: "Could not connect", meaning: NEVER_OPENED, advice: "", level: "bad" };
  const [name, meaning] = MEANINGS.get(code) ?? [rangeName(code), "The server defines the meaning of this code."];
  const said = reason ? ` It said: “${reason}”.` : "";
  return { title: `Closed with ${code}: ${name}`, meaning: `${meaning}${said}`, advice: advice(code, back), level };
}

function rangeName(code) {
  if (code >= 4500) return "do not reconnect";
  if (code >= 4000) return "reconnect later";
  return code >= 3000 ? "registered code" : "reserved code";
}

function advice(code, back) {
  if (!back) return "A client must not reconnect by itself (codes 4500–4999): remove the cause first.";
  if (code === 4029) return "A client may reconnect after a random wait, and should send less.";
  if (code === 1000) return "A client may reconnect, but need not.";
  return "A client may reconnect after a random wait that grows with each try.";
}
