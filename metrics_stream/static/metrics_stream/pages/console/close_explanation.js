// What a close code means for a person who writes a client, in full sentences. Room: pages/console; pure.

import { mayReturn } from "../../client/close_codes.js";

/** Code → its name, and what happened. */
const MEANINGS = new Map([
  [1000, ["Normal closure", "Everything that was to be said has been said."]],
  [1001, ["Going away", "The server stops, or the page was left."]],
  [1002, ["Protocol error", "One side broke the WebSocket protocol itself."]],
  [1003, ["Unsupported data", "The server does not take this kind of data."]],
  [1005, ["No code", "The connection was closed without saying why."]],
  [1006, ["Abnormal closure", "The connection ended without a goodbye: the server died, or the network broke."]],
  [1007, ["Invalid text", "A text message was not valid UTF-8."]],
  [1008, ["Policy violation", "The server has a rule against what was sent."]],
  [1009, ["Message too big", "A message was larger than the server takes."]],
  [1011, ["Server error", "The server met a fault of its own; its log says which."]],
  [1012, ["Service restart", "The server restarts."]],
  [1013, ["Try again later", "The server is busy."]],
  [1014, ["Bad gateway", "A proxy in between got no proper answer from the server."]],
  [1015, ["TLS failed", "No secure connection could be made."]],
  [4001, ["Server going away", "The server stops or restarts."]],
  [4005, ["Authentication expired", "The sign-in of this connection has expired."]],
  [4008, ["Slow consumer", "Frames were not read for so long that the server let go."]],
  [4013, ["Over capacity", "This server process has as many clients as it takes."]],
  [4029, ["Too many messages", "More messages were sent than the limits allow."]],
  [4501, ["Bad protocol", "Too many messages within a minute were answered with an error."]],
  [4502, ["Not authenticated", "Nobody is signed in any more, or nobody signed in in time."]],
  [4503, ["Forbidden", "This client may not see what it asked for, or no longer."]],
  [4509, ["Message too big", "A message was larger than the server takes."]],
]);

/** Why no connection came about; browsers tell pages nothing more, so that pages cannot explore networks. */
const NEVER_OPENED =
  "No connection came about. A browser does not tell a page why: the server may be down, the address or path may be " +
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
  const [name, meaning] = MEANINGS.get(code) ?? [rangeName(code), "The server has its own meaning for this code."];
  const said = reason ? ` It said: “${reason}”.` : "";
  return { title: `Closed with ${code}: ${name}`, meaning: `${meaning}${said}`, advice: advice(code, back), level };
}

function rangeName(code) {
  if (code >= 4500) return "stay away";
  if (code >= 4000) return "come back later";
  return code >= 3000 ? "registered code" : "reserved code";
}

function advice(code, back) {
  if (!back) return "A client must not come back by itself (codes 4500–4999): mend the cause first.";
  if (code === 4029) return "A client may come back after a random wait, and should send less.";
  if (code === 1000) return "A client need not come back, but may.";
  return "A client may come back after a random wait that grows with each try.";
}
