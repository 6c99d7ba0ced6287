// The flow of transactions through nodes: the edges, and the throughput, latency and state of each node.

import { formatNumber, humanize } from "../client/format.js";
import { levelOfWord, worst } from "../client/levels.js";
import { lookUp } from "../client/path.js";
import { element, KeyedList, levelIcon, setAttribute, setLevelIcon, setStyle, setText, svgElement } from "./dom.js";

const DEFAULT_PATH = "transaction_flow_data";

/** More nodes do not fit on any screen. */
const MAX_NODES = 40;

export class FlowChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.path = panel.fields[0]?.path ?? DEFAULT_PATH;
    this.edgeLayer = svgElement("svg", {
      class: "flow__edges",
      viewBox: "0 0 100 100",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    this.nodeLayer = element("ol", { class: "flow__nodes" });
    this.flow = element("div", { class: "flow" }, this.edgeLayer, this.nodeLayer);
    host.append(this.flow);
    this.nodes = new KeyedList(this.nodeLayer, createNode, updateNode);
    this.edges = new KeyedList(
      this.edgeLayer,
      () => ({ node: svgElement("path", { class: "flow__edge" }) }),
      updateEdge,
    );
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    const found = store
      .latest(this.panel.metric_type, source)
      .map((latest) => ({ latest, value: lookUp(latest.data, this.path) }))
      .filter(({ value }) => value !== undefined && value !== null)
      .sort((a, b) => b.latest.receivedAtMs - a.latest.receivedAtMs);
    const { nodes, edges } = flowOf(found[0]?.value);
    // Nodes above each other become smaller, and with many of them the panel grows.
    const rows = mostInColumn(nodes);
    setAttribute(this.flow, "data-dense", rows > 2);
    setStyle(this.flow, "--rows", String(rows));
    this.nodes.show(nodes);
    this.edges.show(edges);
    this.level = worst(nodes.map((node) => node.level));
    return nodes.length > 0;
  }

  stop() {}
}

/**
 * Return the nodes and edges of a flow with their places, 0–100 in both directions.
 *
 * The value is a list of nodes, `{nodes, edges}`, or an object of nodes by id. Places are the nodes' `position` ({x, y}
 * on any scale), else they follow the order. Edges are `edges`, else each node leads to the nodes of the next column.
 *
 * @param {unknown} value
 * @returns {{nodes: object[], edges: object[]}}
 */
export function flowOf(value) {
  const nodes = placeNodes(nodesOf(value).slice(0, MAX_NODES).map(readNode));
  const byId = new Map(nodes.map((node) => [node.key, node]));
  const named = (Array.isArray(value?.edges) ? value.edges : []).map(readEdge);
  const edges = (named.length ? named : impliedEdges(nodes))
    .map(([from, to]) => ({ key: `${from}\u0000${to}`, from: byId.get(from), to: byId.get(to) }))
    .filter(({ from, to }) => from && to && from !== to);
  return { nodes, edges: [...new Map(edges.map((edge) => [edge.key, edge])).values()] };
}

function nodesOf(value) {
  if (Array.isArray(value)) return value.filter((node) => node !== null && typeof node === "object");
  if (value === null || typeof value !== "object") return [];
  if (value.nodes !== undefined) return nodesOf(value.nodes);
  return Object.entries(value)
    .filter(([, node]) => node !== null && typeof node === "object" && !Array.isArray(node))
    .map(([id, node]) => ({ node_id: id, ...node }));
}

function readNode(node, index) {
  const key = String(node.node_id ?? node.id ?? index);
  const { x, y } = node.position ?? {};
  const errors = typeof node.error_rate === "number" ? `${formatNumber(node.error_rate, "ratio")} errors` : "";
  return {
    key,
    name: String(node.node_name ?? node.name ?? humanize(key)),
    type: humanize(node.node_type ?? ""),
    word: humanize(node.status ?? ""),
    level: levelOfWord(node.status),
    throughput: typeof node.throughput === "number" ? formatNumber(node.throughput, "tps") : "",
    latency: typeof node.latency_ms === "number" ? formatNumber(node.latency_ms, "ms") : "",
    errors,
    x: Number.isFinite(x) ? x : Array.isArray(node.position) ? Number(node.position[0]) : NaN,
    y: Number.isFinite(y) ? y : Array.isArray(node.position) ? Number(node.position[1]) : NaN,
    next: [node.next ?? node.connections ?? node.targets ?? []].flat().map(String),
  };
}

function readEdge(edge) {
  if (Array.isArray(edge)) return edge.map(String);
  return [String(edge?.from ?? edge?.source ?? ""), String(edge?.to ?? edge?.target ?? "")];
}

/** Set the place of every node. Where nodes share one they would hide each other: then the order decides for all. */
function placeNodes(nodes) {
  const places = new Set(nodes.map((node) => `${node.x} ${node.y}`));
  const usable =
    nodes.every((node) => Number.isFinite(node.x) && Number.isFinite(node.y)) && places.size === nodes.length;
  if (!usable) {
    nodes.forEach((node, index) =>
      Object.assign(node, { x: nodes.length > 1 ? index / (nodes.length - 1) : 0.5, y: 0.5 }),
    );
  }
  // Stretch the places to the panel's edges, whatever scale the producer used.
  const spread = (name) => {
    const all = nodes.map((node) => node[name]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    for (const node of nodes) node[`${name}Percent`] = high > low ? ((node[name] - low) / (high - low)) * 100 : 50;
  };
  spread("x");
  spread("y");
  return nodes;
}

/** Return the largest number of nodes above each other. */
function mostInColumn(nodes) {
  const counts = nodes.map((node) => nodes.filter((other) => Math.abs(other.xPercent - node.xPercent) < 12).length);
  return Math.max(1, ...counts);
}

function impliedEdges(nodes) {
  if (nodes.some((node) => node.next.length)) return nodes.flatMap((node) => node.next.map((to) => [node.key, to]));
  const columns = [...new Set(nodes.map((node) => node.xPercent))].sort((a, b) => a - b);
  return columns.slice(1).flatMap((x, index) => {
    const from = nodes.filter((node) => node.xPercent === columns[index]);
    const to = nodes.filter((node) => node.xPercent === x);
    return from.flatMap((a) => to.map((b) => [a.key, b.key]));
  });
}

function createNode() {
  const icon = levelIcon();
  const name = element("span", { class: "flow__name" });
  const word = element("span", { class: "flow__word" });
  const throughput = element("span", { class: "flow__throughput numeric" });
  const latency = element("span", { class: "flow__latency numeric" });
  const node = element(
    "li",
    { class: "flow__node" },
    element("span", { class: "flow__head" }, icon, name),
    throughput,
    element("span", { class: "flow__foot" }, latency, word),
  );
  return { node, icon, name, word, throughput, latency };
}

function updateNode(part, node) {
  setLevelIcon(part.icon, node.level);
  setAttribute(part.node, "data-level", node.level);
  setAttribute(part.node, "title", [node.name, node.type, node.word, node.errors].filter(Boolean).join(" · "));
  setText(part.name, node.name);
  setText(part.word, node.word);
  setText(part.throughput, node.throughput);
  setText(part.latency, node.latency);
  setStyle(part.node, "--x", String(node.xPercent / 100));
  setStyle(part.node, "--y", String(node.yPercent / 100));
}

function updateEdge(part, { from, to }) {
  const middle = (from.xPercent + to.xPercent) / 2;
  const curve = `C${middle} ${from.yPercent} ${middle} ${to.yPercent} ${to.xPercent} ${to.yPercent}`;
  setAttribute(part.node, "d", `M${from.xPercent} ${from.yPercent}${curve}`);
  setAttribute(part.node, "data-level", to.level);
}
