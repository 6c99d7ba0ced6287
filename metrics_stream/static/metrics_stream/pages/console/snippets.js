// The current connection as a program in JavaScript and Python, to paste and run.

/**
 * @typedef {object} Recipe
 * @property {string} url
 * @property {object[]} messages to send after connecting, in order
 */

/** @param {Recipe} recipe @returns {string} */
export function javaScriptFor({ url, messages }) {
  const sends = messages.map((message) => `  socket.send(JSON.stringify(${JSON.stringify(message)}));`);
  return `const socket = new WebSocket(${JSON.stringify(url)});

socket.onopen = () => {
${sends.length ? sends.join("\n") : "  // The preset decides what the server sends."}
};

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === "metric_update") show(message.data);
  else if (message.type === "metric_batch") message.data.forEach(show);
  else if (message.type === "gap" || message.type === "error") console.warn(message);
};

// 4500 to 4999: do not reconnect. Otherwise reconnect
// after a random wait that grows with each try.
socket.onclose = ({ code, reason }) => console.log("closed", code, reason);

function show({ metric_type, source, timestamp, data }) {
  console.log(metric_type, source, timestamp, data);
}
`;
}

/** @param {Recipe} recipe @returns {string} */
export function pythonFor({ url, messages }) {
  const list = messages.map((message) => `    ${pythonLiteral(message)},`);
  return `# pip install websockets
import asyncio
import json

from websockets.asyncio.client import connect

URL = ${pythonLiteral(url)}
MESSAGES = [${list.length ? `\n${list.join("\n")}\n` : ""}]


def show(metric):
    print(metric["metric_type"], metric["source"], metric["timestamp"], metric["data"])


async def main():
    async with connect(URL, max_size=4 * 2**20) as socket:
        for message in MESSAGES:
            await socket.send(json.dumps(message))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "metric_update":
                show(message["data"])
            elif message["type"] == "metric_batch":
                for metric in message["data"]:
                    show(metric)
            elif message["type"] in {"gap", "error"}:
                print(message)


asyncio.run(main())
`;
}

/** Numbers and strings of JSON are valid Python; its three words are not. */
const PYTHON_WORDS = new Map([
  [null, "None"],
  [true, "True"],
  [false, "False"],
]);

function pythonLiteral(value) {
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const items = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonLiteral(item)}`);
    return `{${items.join(", ")}}`;
  }
  return PYTHON_WORDS.get(value) ?? JSON.stringify(value);
}
