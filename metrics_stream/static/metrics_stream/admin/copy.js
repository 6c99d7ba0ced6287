// Copy a secret that the admin shows only once.

import { copyFrom } from "../pages/console/clipboard.js";

for (const root of document.querySelectorAll("[data-copyable]")) {
  const text = root.querySelector("[data-copy-text]");
  const button = root.querySelector("[data-copy-button]");
  button.addEventListener("click", () => copyFrom(button, text.value, root.querySelector("[data-copy-announcer]")));
  text.addEventListener("focus", () => text.select());
}
