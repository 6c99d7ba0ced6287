// Keeps the pages of test runs as the server would render them now, and tells times in the viewer's time zone.
// Room: pages. Without it the pages are whole, but stand still and tell the time of the server.

/** A fetch that takes longer has failed. */
const TIMEOUT_MS = 10_000;

/** What a person opened or closed stays as it is. */
const KEPT_ATTRIBUTES = new Set(["open"]);

function pad(number) {
  return String(number).padStart(2, "0");
}

/**
 * Put the viewer's time into every `<time data-local>` under `root`; the server's text becomes its tooltip.
 *
 * @param {ParentNode} root
 */
export function localizeTimes(root) {
  for (const node of root.querySelectorAll("time[data-local]")) {
    const at = new Date(node.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    node.title = node.textContent.trim();
    const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
    const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(pad);
    node.textContent = `${day} ${time.slice(0, node.dataset.local === "seconds" ? 3 : 2).join(":")}`;
  }
}

/**
 * Make `old` like `fresh` with as few changes as it takes, so that focus, selection and scrolling stay where they are.
 *
 * @param {Node} old in the page
 * @param {Node} fresh may lose its children
 */
export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name) && !KEPT_ATTRIBUTES.has(name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    if (!KEPT_ATTRIBUTES.has(name)) old.setAttribute(name, fresh.getAttribute(name));
  }
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  if (before.length === after.length) before.forEach((child, index) => morph(child, after[index]));
  else old.replaceChildren(...after);
}

/** Fetches the page again while there is something on it that changes. */
class Refresher {
  #timer = null;
  #problem = document.querySelector("[data-refresh-problem]");
  #signedOut = document.querySelector("[data-signed-out]");

  start() {
    document.addEventListener("visibilitychange", () => this.#refresh());
    this.#scheduleRefresh();
  }

  #scheduleRefresh() {
    clearTimeout(this.#timer);
    const seconds = Number(document.querySelector("[data-refresh-seconds]")?.dataset.refreshSeconds);
    if (seconds > 0) this.#timer = setTimeout(() => this.#refresh(), seconds * 1000);
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (document.hidden || !document.querySelector("[data-refresh-seconds]")) return;
    try {
      const response = await fetch(location.href, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (response.redirected && this.#signedOut) {
        this.#showSignIn(response.url);
        return;
      }
      if (!response.ok || response.redirected) throw new Error(`status ${response.status}`);
      this.#showFresh(new DOMParser().parseFromString(await response.text(), "text/html"));
      this.#problem.hidden = true;
    } catch {
      this.#problem.hidden = false;
    }
    this.#scheduleRefresh();
  }

  /** Stop, and say so: these pages are sent elsewhere only to sign in. */
  #showSignIn(address) {
    this.#problem.hidden = true;
    this.#signedOut.querySelector("a").href = address;
    this.#signedOut.hidden = false;
  }

  #showFresh(fresh) {
    localizeTimes(fresh);
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(part.id);
      if (now) morph(part, document.importNode(now, true));
    }
  }
}

localizeTimes(document);
new Refresher().start();
