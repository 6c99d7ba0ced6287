// The theme of the page: that of the system, or light or dark by the viewer's choice. Loads before the first paint.

const STORAGE_KEY = "metrics-stream.theme";

/** The button changes to the next of these. */
const THEMES = ["system", "light", "dark"];

const LABELS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

const root = document.documentElement;

function readStored() {
  try {
    const stored = localStorage.getItem(STORAGE_KEY);
    return THEMES.includes(stored) ? stored : null;
  } catch {
    // Storage can be forbidden: then the choice lasts as long as the page.
    return null;
  }
}

function store(theme) {
  try {
    localStorage.setItem(STORAGE_KEY, theme);
  } catch {
    return;
  }
}

let chosen = readStored();

function applyTheme() {
  // A page may have a default theme (a wall screen is dark); the viewer's choice overrides it.
  const theme = chosen ?? root.dataset.themeDefault ?? "system";
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  for (const button of document.querySelectorAll("[data-theme-button]")) {
    button.dataset.themeShown = theme;
    button.title = LABELS[theme];
    button.setAttribute("aria-label", `${LABELS[theme]}. Change theme`);
  }
  root.dispatchEvent(new CustomEvent("themechange", { bubbles: true }));
}

function chooseNext() {
  const current = chosen ?? root.dataset.themeDefault ?? "system";
  chosen = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length];
  store(chosen);
  applyTheme();
}

applyTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
addEventListener("storage", (event) => {
  if (event.key !== STORAGE_KEY) return;
  chosen = readStored();
  applyTheme();
});

function showButtons() {
  applyTheme();
  for (const button of document.querySelectorAll("[data-theme-button]")) {
    button.hidden = false;
    button.addEventListener("click", chooseNext);
  }
}

// This module may run before or after the page has been parsed.
if (document.readyState === "loading") addEventListener("DOMContentLoaded", showButtons);
else showButtons();
