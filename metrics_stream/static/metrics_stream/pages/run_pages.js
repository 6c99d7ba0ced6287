// Keeps the pages of test runs up to date with what the server renders, and shows times in the viewer's time zone.
// Without this script the pages are complete, but static, with the server's time zone.

/** A fetch that takes longer counts as failed. */
const TIMEOUT_MS = 10_000;

/** Attributes that belong to the viewer: what a person opened or closed stays so. */
const KEPT_ATTRIBUTES = new Set(["open"]);

function pad(number) {
  return String(number).padStart(2, "0");
}

/**
 * Write the viewer's time into every `<time data-local>` under `root`; the server's text becomes its tooltip.
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
 * Make `old` equal to `fresh` with few changes, so that focus, selection and scroll position stay.
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

/** Fetches the page again while it has content that changes. */
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

  /** Stop, and offer to sign in: the only redirect of these pages leads there. */
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
