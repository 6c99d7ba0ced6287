// The page of the HTTP API: each form sends its request and shows the answer as text.

/** A stream is shown up to this many characters: the newest ones. */
const MAX_SHOWN_CHARACTERS = 60_000;

const WRITING = new Set(["POST", "PUT", "DELETE"]);

/**
 * @param {HTMLFormElement} form
 * @returns {{ address: string, missing: string | null }} the address that the fields of a form name
 */
function addressOf(form) {
  let path = form.dataset.path;
  let missing = null;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-in]")) {
    const value = field.value.trim();
    if (field.dataset.in === "path") {
      if (!value) missing ??= field.name;
      path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    } else if (value) {
      query.set(field.name, value);
    }
  }
  const text = query.toString();
  return { address: text ? `${path}?${text}` : path, missing };
}

/** @param {string} text @returns {string} the text in single quotes for a shell */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** @param {string} text @returns {string} JSON with line breaks, any other text as it is */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

class OperationForm {
  #abort = null;

  /** @param {HTMLFormElement} form @param {{ token: () => string, csrf: string }} credentials */
  constructor(form, credentials) {
    this.form = form;
    this.credentials = credentials;
    this.answer = form.querySelector("[data-answer]");
    this.call = form.querySelector("[data-call]");
    this.status = form.querySelector("[data-status]");
    this.stopButton = form.querySelector("[data-abort]");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    this.stopButton.addEventListener("click", () => this.#abort?.abort());
  }

  async send() {
    this.#abort?.abort();
    const { address, missing } = addressOf(this.form);
    if (missing !== null) {
      this.#tell(`Fill in ${missing} first.`, "bad");
      return;
    }
    const abort = new AbortController();
    this.#abort = abort;
    const { method } = this.form.dataset;
    const { headers, body } = this.#message(method);
    this.#showCall(method, address, headers, body);
    this.#tell("Waiting for the answer…", "");
    this.stopButton.hidden = false;
    try {
      const startedAtMs = performance.now();
      const response = await fetch(address, { method, headers, body, signal: abort.signal, credentials: "same-origin" });
      const tookMs = Math.round(performance.now() - startedAtMs);
      this.#tell(`${response.status} ${response.statusText} · ${tookMs} ms`, response.ok ? "good" : "bad");
      if (this.form.dataset.stream !== undefined && response.ok) await this.#showStream(response);
      else this.#show(readable(await response.text()) || "(no body)");
    } catch (error) {
      if (abort.signal.aborted) this.#tell("Stopped.", "");
      else this.#tell(`No answer: ${error.message}`, "bad");
    } finally {
      if (this.#abort === abort) this.stopButton.hidden = true;
    }
  }

  #message(method) {
    const headers = {};
    const token = this.credentials.token();
    if (token) headers.Authorization = `Bearer ${token}`;
    else if (WRITING.has(method)) headers["X-CSRFToken"] = this.credentials.csrf;
    const body = this.form.querySelector("[data-body]")?.value;
    if (body !== undefined) headers["Content-Type"] = this.form.querySelector("[data-kind]")?.value ?? "application/json";
    return { headers, body };
  }

  /** Show the same request for a shell; a token is not repeated. */
  #showCall(method, address, headers, body) {
    const parts = ["curl"];
    if (this.form.dataset.stream !== undefined) parts.push("-N");
    if (method !== "GET") parts.push("-X", method);
    parts.push("-H", quoted("Authorization: Bearer $TOKEN").replaceAll("'", '"'));
    if (body !== undefined) parts.push("-H", quoted(`Content-Type: ${headers["Content-Type"]}`), "--data-binary", quoted(body));
    parts.push(quoted(new URL(address, location.href).href));
    this.call.textContent = parts.join(" ");
    this.call.hidden = false;
  }

  async #showStream(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text = (text + value).slice(-MAX_SHOWN_CHARACTERS);
      this.#show(text);
      this.answer.scrollTop = this.answer.scrollHeight;
    }
  }

  #show(text) {
    this.answer.textContent = text;
    this.answer.hidden = false;
  }

  #tell(text, state) {
    this.status.textContent = text;
    this.status.dataset.state = state;
  }
}

/** Open the operation that the address names. */
function openNamed() {
  const named = document.getElementById(location.hash.slice(1));
  if (named instanceof HTMLDetailsElement) named.open = true;
}

const page = document.querySelector("[data-api]");
const tokenField = page.querySelector("[data-token]");
const credentials = page.querySelector("[data-credentials]");
const csrf = credentials.querySelector("[name=csrfmiddlewaretoken]").value;
// It has no address: its fields are for the other forms.
credentials.addEventListener("submit", (event) => event.preventDefault());
for (const form of page.querySelectorAll("[data-operation]")) {
  new OperationForm(form, { token: () => tokenField.value.trim(), csrf });
}
openNamed();
addEventListener("hashchange", openNamed);
