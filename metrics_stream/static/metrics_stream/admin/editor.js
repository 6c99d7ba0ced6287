// Makes the admin's forms for panels, presets and policies quicker to use: offers the field names of the chosen metric
// type, shows only the options of a panel's kind, and folds panels into one line each. Without it the forms are only
// longer.

/**
 * @typedef {{name: string, label: string}} Field
 * @typedef {{slug: string, label: string, fields: Field[]}} MetricType
 */

/** @returns {any} the JSON in the page under `id`; null on pages without it (an old version in the history). */
function read(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

/** @type {MetricType[]} */
const catalogue = read("metric-catalogue") ?? [];
/** @type {Record<string, {options: string[], shows_metrics: boolean}>} */
const panelKinds = read("panel-kinds") ?? {};
const optionNames = [...new Set(Object.values(panelKinds).flatMap(({ options }) => options))];

/** Return the control called `name` in a form, inline or not: `panels-3-kind` or `kind`. */
function control(scope, name) {
  return scope.querySelector(`[name="${name}"], [name$="-${name}"]`);
}

/** @returns {HTMLElement} the box of a control, its label and its help. */
function boxOf(input) {
  return input.closest(".form-multiline > div") ?? input.closest(".form-row");
}

/** @returns {string[]} the lines of a textarea, without empty ones. */
function lines(textarea) {
  return textarea.value
    .split(/[\n,]/)
    .map((line) => line.trim())
    .filter(Boolean);
}

/**
 * Add buttons with field names under a textarea; a press adds or removes the line.
 * @param {HTMLTextAreaElement} textarea
 * @param {() => MetricType[]} chosenTypes
 */
function offerFields(textarea, chosenTypes) {
  const list = document.createElement("div");
  list.className = "field-offer";
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Known fields");
  boxOf(textarea).append(list);

  function paint() {
    const chosen = new Set(lines(textarea));
    const fields = new Map(chosenTypes().flatMap((type) => type.fields.map((field) => [field.name, field])));
    list.replaceChildren(
      ...[...fields.values()].map((field) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = field.label;
        button.title = field.name;
        button.value = field.name;
        button.setAttribute("aria-pressed", String(chosen.has(field.name)));
        return button;
      }),
    );
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const now = lines(textarea);
    const next = now.includes(button.value) ? now.filter((line) => line !== button.value) : [...now, button.value];
    textarea.value = next.join("\n");
    textarea.dispatchEvent(new Event("input", { bubbles: true }));
    list.querySelector(`button[value="${button.value}"]`)?.focus();
  });
  textarea.addEventListener("input", paint);
  paint();
  return paint;
}

/** Show the options of a panel kind, and hide the others. */
function showOptions(scope, kind) {
  const { options: known = [], shows_metrics: showsMetrics = true } = panelKinds[kind] ?? {};
  for (const name of optionNames) {
    const input = control(scope, `option_${name}`);
    if (input) boxOf(input).hidden = !known.includes(name);
  }
  for (const name of ["metric_type", "fields"]) {
    const input = control(scope, name);
    if (input) boxOf(input).hidden = !showsMetrics;
  }
  for (const row of scope.querySelectorAll(".form-row")) {
    const boxes = [...row.querySelectorAll(".form-multiline > div")];
    if (boxes.length) row.hidden = boxes.every((box) => box.hidden);
  }
  for (const fieldset of scope.querySelectorAll("fieldset.panel-options, fieldset.panel-values")) {
    const rows = [...fieldset.querySelectorAll(".form-row")];
    fieldset.hidden = rows.every((row) => row.hidden) || (!showsMetrics && fieldset.classList.contains("panel-values"));
  }
}

/** @returns {string} the summary of a folded panel. */
function summary(scope) {
  const kind = control(scope, "kind");
  const type = control(scope, "metric_type");
  const parts = [kind?.selectedOptions[0]?.text];
  if (panelKinds[kind?.value]?.shows_metrics === false) {
    parts.push(control(scope, "option_text").value.trim().slice(0, 60));
  } else {
    parts.push(
      type?.value ? type.selectedOptions[0].text : "no metric type",
      lines(control(scope, "fields")).join(", "),
    );
  }
  return parts.filter(Boolean).join(" · ");
}

/** Set up the form of one panel. */
function editPanel(scope) {
  const kind = control(scope, "kind");
  const type = control(scope, "metric_type");
  const fields = control(scope, "fields");
  if (!kind || !type || !fields) return;
  const paint = offerFields(fields, () => catalogue.filter((item) => item.slug === type.value));
  type.addEventListener("change", paint);
  kind.addEventListener("change", () => showOptions(scope, kind.value));
  showOptions(scope, kind.value);
}

/** Fold an inline panel into its heading; new panels and panels with errors start open. */
function fold(inline) {
  const heading = inline.querySelector("h3");
  if (!heading) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "panel-fold";
  const words = document.createElement("span");
  words.className = "panel-summary";
  heading.querySelector(".inline_label")?.after(words);
  heading.prepend(button);

  function set(open) {
    inline.classList.toggle("folded", !open);
    button.setAttribute("aria-expanded", String(open));
    button.setAttribute("aria-label", open ? "Close this panel" : "Edit this panel");
    words.textContent = open ? "" : summary(inline);
  }

  button.addEventListener("click", () => set(inline.classList.contains("folded")));
  heading.addEventListener("dblclick", () => set(inline.classList.contains("folded")));
  set(!inline.classList.contains("has_original") || inline.querySelector(".errorlist, .errors") !== null);
}

for (const inline of document.querySelectorAll("#panels-group .inline-related:not(.empty-form)")) {
  editPanel(inline);
  fold(inline);
}
document.addEventListener("formset:added", (event) => {
  if (event.detail.formsetName !== "panels") return;
  editPanel(event.target);
  fold(event.target);
});

const panelForm = document.getElementById("panel_form");
if (panelForm) editPanel(panelForm);

for (const id of ["clientpreset_form", "accesspolicy_form"]) {
  const form = document.getElementById(id);
  if (form === null) continue;
  const boxes = [...form.querySelectorAll('input[name="metric_types"]')];
  const chosen = () => {
    const slugs = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    return catalogue.filter((item) => slugs.has("all") || slugs.has(item.slug));
  };
  const paint = offerFields(form.querySelector('[name="fields"]'), chosen);
  for (const box of boxes) box.addEventListener("change", paint);
}
