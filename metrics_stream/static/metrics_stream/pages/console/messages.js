// The messages of the protocol for the console: templates, hints on typed texts, and a summary line for each frame.

import { formatNumber } from "../../client/format.js";
import { AGENT_KEY, labelOfRow, rowOf } from "../../client/keys.js";
import { metricsOf } from "./statistics.js";

const REPLIES = new Set([
  "subscription_confirmed",
  "filters_updated",
  "update_interval_set",
  "batching_set",
  "pong",
  "replay_state",
  "authentication_required",
]);

/**
 * @param {Record<string, string[]>} clientMessages the keys of each message beside `type` and `ref`
 * @returns {{group: string, name: string, text: string}[]} the templates that the composer offers
 */
export function templates(clientMessages) {
  const written = [
    { type: "subscribe", metric_types: ["all"] },
    { type: "unsubscribe", metric_types: ["system"] },
    { type: "set_filters", filters: { agent_ids: ["agent_1"], sources: [], fields: [] } },
    { type: "set_filters", filters: { keys: { name: ["/api/*"], method: ["GET"] } } },
    { type: "set_update_interval", interval_seconds: 0.5 },
    { type: "set_batching", batch_size: 50, batch_timeout_seconds: 1, mode: "latest" },
    { type: "ping", ref: "my-ping" },
    { type: "subscribe", metric_types: ["all"], backfill_seconds: 900, max_points: 100 },
    { type: "replay", from: new Date(Date.now() - 300_000).toISOString(), speed: 4 },
    { type: "seek", to: new Date(Date.now() - 60_000).toISOString() },
    { type: "pause" },
    { type: "resume", speed: 1 },
    { type: "live" },
    { type: "authenticate", token: "mst_…" },
  ];
  const others = Object.keys(clientMessages).filter((type) => !written.some((message) => message.type === type));
  const good = [...written, ...others.map((type) => ({ type }))].map((message) => ({
    group: "Messages",
    name: nameOf(message),
    text: JSON.stringify(message, null, 2),
  }));
  const wrong = [
    ["not JSON", '{"type": "subscribe", '],
    ["unknown message", '{"type": "dance", "ref": "my-dance"}'],
    ["unknown metric type", '{"type": "subscribe", "metric_types": ["sytem"]}'],
    ["interval out of range", '{"type": "set_update_interval", "interval_seconds": 0.001}'],
    ["wrong value type", '{"type": "set_update_interval", "interval_seconds": "fast"}'],
  ].map(([name, text]) => ({ group: "Wrong on purpose", name, text }));
  return [...good, ...wrong];
}

function nameOf(message) {
  if ("backfill_seconds" in message) return `${message.type} with the past`;
  return message.filters?.keys === undefined ? message.type : `${message.type} of rows`;
}

/**
 * Return what the server will probably answer to a text. It is only a hint: anything can be sent.
 *
 * @param {string} text
 * @param {string[]} metricTypes the existing types
 * @param {Record<string, string[]>} clientMessages the keys of each message beside `type` and `ref`
 * @returns {{level: "quiet" | "good" | "warn", words: string}}
 */
export function hintFor(text, metricTypes, clientMessages) {
  if (text.trim() === "") return { level: "quiet", words: "Type a message, or start from a template." };
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { level: "warn", words: `Not JSON: ${error.message}` };
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return { level: "warn", words: "JSON, but not an object; every message is an object with a type." };
  }
  const known = Object.keys(clientMessages);
  if (!Object.hasOwn(clientMessages, value.type)) {
    const type = JSON.stringify(value.type) ?? "(none)";
    return { level: "warn", words: `Unknown type ${type}; known: ${known.join(", ")}` };
  }
  const keys = clientMessages[value.type];
  const extra = Object.keys(value).filter((key) => key !== "type" && key !== "ref" && !keys.includes(key));
  if (extra.length) {
    return { level: "warn", words: `Unknown key ${extra[0]}; allowed: ${["type", "ref", ...keys].join(", ")}` };
  }
  if (Array.isArray(value.metric_types)) {
    const known = ["all", ...metricTypes];
    const strange = value.metric_types.find((name) => !known.includes(String(name).toLowerCase()));
    if (strange !== undefined) {
      const name = JSON.stringify(strange);
      return { level: "warn", words: `Unknown metric type ${name}; known: ${metricTypes.join(", ")}, all` };
    }
  }
  return { level: "good", words: "A message of the protocol." };
}

/** @param {Frame} frame @returns {"metrics" | "reply" | "error" | "sent"} the kind by which the log filters */
export function kindOf(frame) {
  if (frame.direction === "out") return "sent";
  const type = frame.message?.type;
  if (type === "metric_update" || type === "metric_batch" || type === "backfill") return "metrics";
  if (type === "error" || type === "ignored" || type === "gap") return "error";
  // Messages of other protocols are shown with the replies: they are neither metrics nor errors.
  return "reply";
}

/** @param {Frame} frame @returns {string} the type to show in the log */
export function typeOf(frame) {
  if (frame.binary) return "binary";
  if (frame.message === null) return "text";
  const { type } = frame.message;
  return typeof type === "string" ? shorten(type, 40) : "no type";
}

/**
 * Return a summary of a frame, on one line.
 *
 * @param {Frame} frame
 * @param {number} offsetMs milliseconds by which the server's clock is ahead of the local one
 * @returns {string}
 */
export function summarize(frame, offsetMs) {
  const { message } = frame;
  if (message === null) return shorten(frame.text, 200);
  if (frame.direction === "out") return summarizeKeys(message);
  switch (message.type) {
    case "metric_update":
    case "metric_batch":
      return `${message.replayed ? "replayed · " : ""}${summarizeMetrics(message, frame.atMs + offsetMs)}`;
    case "backfill":
      return summarizeBackfill(message);
    case "ignored":
      return `not used: ${message.message}`;
    case "error":
      return `${message.code}: ${message.message}`;
    case "gap":
      return `${message.dropped ?? "an unknown number of"} metrics missing: ${message.reason}`;
    case "welcome":
      return [
        `client ${message.client_id}`,
        `protocol ${message.protocol ?? "unknown"}`,
        message.subscription?.preset ? `preset ${message.subscription.preset}` : "no preset",
      ].join(" · ");
    default:
      return REPLIES.has(message.type) ? summarizeKeys(message) : shorten(frame.text, 200);
  }
}

function summarizeKeys(message) {
  const parts = Object.entries(message)
    .filter(([key]) => key !== "type")
    .map(([key, value]) => `${key} ${typeof value === "string" ? value : formatList(value)}`);
  return shorten(parts.join(" · "), 240) || "–";
}

function formatList(value) {
  if (!Array.isArray(value) || value.some((item) => typeof item === "object")) return JSON.stringify(value) ?? "";
  return value.length ? value.join(", ") : "none";
}

function summarizeMetrics(message, serverNowMs) {
  const metrics = metricsOf(message).filter((metric) => metric !== null && typeof metric === "object");
  const counts = new Map();
  const sources = new Set();
  let [youngest, oldest] = [Infinity, -Infinity];
  for (const metric of metrics) {
    counts.set(metric.metric_type, (counts.get(metric.metric_type) ?? 0) + 1);
    if (metric.source !== undefined) sources.add(metric.source);
    const ageMs = serverNowMs - Date.parse(metric.timestamp);
    if (Number.isNaN(ageMs)) continue;
    youngest = Math.min(youngest, ageMs);
    oldest = Math.max(oldest, ageMs);
  }
  const types = [...counts].map(([type, count]) => (metrics.length > 1 ? `${count} ${type}` : type)).join(", ");
  const from = sources.size === 0 ? "" : ` from ${shorten([...sources].join(", "), 60)}`;
  const age = oldest === -Infinity ? "" : `age ${formatAges(youngest, oldest)} · `;
  const values = metrics.length === 1 ? formatValues(metrics[0]) : "";
  return shorten(`${age}${types}${from}${values}`, 240);
}

function summarizeBackfill({ series, bucket_seconds: seconds, metric_types: types, done }) {
  const count = Array.isArray(series) ? series.length : 0;
  const what = `${count} series of ${formatList(types)} in buckets of ${seconds} s`;
  return shorten(done ? `${what} · the last of them` : what, 240);
}

function formatAges(youngest, oldest) {
  const newest = formatNumber(Math.round(youngest), "ms", 0);
  return oldest - youngest < 1 ? newest : `${newest} to ${formatNumber(Math.round(oldest), "ms", 0)}`;
}

function formatValues({ data, key = AGENT_KEY }) {
  if (Array.isArray(data)) {
    const names = data.slice(0, 5).map((entry) => labelOfRow(rowOf(entry ?? {}, key))).filter(Boolean);
    const named = names.length ? `: ${names.slice(0, 4).join(", ")}${names.length > 4 ? ", …" : ""}` : "";
    return ` · ${data.length} ${data.length === 1 ? "entry" : "entries"}${named}`;
  }
  if (data === null || typeof data !== "object") return "";
  const short = (value) => (typeof value === "number" ? +value.toPrecision(4) : shorten(JSON.stringify(value), 24));
  const parts = Object.entries(data)
    .slice(0, 3)
    .map(([key, value]) => `${key} ${short(value)}`);
  return parts.length ? ` · ${parts.join(", ")}` : "";
}

/** @param {string} text @param {number} length @returns {string} */
export function shorten(text, length) {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
