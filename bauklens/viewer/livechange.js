// The dialog in which a change is made: on a token of a cell, or on a token of the prompt.

import { button, make } from "./dom.js";

const CELL_ACTS = [["swap", "Swap for"], ["strengthen", "Strengthen"], ["remove", "Remove"]];
const PROMPT_ACTS = [["replace", "Replace with"], ["patch", "Patch its states from the other prompt"]];

/** `open({ id, text, layer, position }, ask)`; without an id it is a token of the prompt. `send(ask)` is called with the changed look. */
export function changing(about, send) {
  const dialog = /** @type {HTMLDialogElement} */ (make("dialog", { class: "live-change", "aria-label": "change" }));
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  function open({ id = null, text, layer = null, position }, ask) {
    const acts = id === null ? PROMPT_ACTS : CELL_ACTS;
    const into = make("input", { type: "text", "aria-label": "the other token", spellcheck: "false", autocomplete: "off" });
    const strength = make("input", { type: "number", step: "0.1", min: "-100", max: "100", value: "1", "aria-label": "strength" });
    const act = radios("act", acts, acts[0][0]);
    const from = layer ?? about.layers[0];
    const where = radios("layers", [["from", `from ${layerNamed(from)} on`], ["here", `only at ${layerNamed(from)}`], ["all", "all layers"]], layer === null || layer === about.layers.at(-1) ? "all" : "from");
    const at = radios("positions", [["here", `position ${position}`], ["all", "all positions"]], id === null ? "here" : "all");
    const form = make("form", { method: "dialog" },
      make("h2", {}, "Change ", make("bdi", {}, text), make("small", {}, layer === null ? ` position ${position}` : ` ${layerNamed(layer)}, position ${position}`)),
      make("fieldset", {}, make("legend", {}, "What"), ...act.lines, make("label", { class: "into" }, "to ", into), make("label", { class: "strength" }, "strength ", strength)),
      make("fieldset", { class: "where" }, make("legend", {}, "Layers"), ...where.lines),
      make("fieldset", { class: "where" }, make("legend", {}, "Positions"), ...at.lines),
      make("div", { class: "buttons" }, make("button", { type: "submit", class: "main" }, "Change"), button("Cancel", () => dialog.close())),
    );
    const draw = () => {
      const chosen = act.value();
      form.querySelector(".into").hidden = !["swap", "replace"].includes(chosen);
      form.querySelector(".strength").hidden = id === null;
      form.querySelectorAll(".where").forEach((each) => (each.hidden = chosen === "replace"));
      into.required = ["swap", "replace"].includes(chosen);
    };
    form.addEventListener("change", draw);
    form.addEventListener("submit", () => send({ ...ask, ...changeOf() }));
    dialog.replaceChildren(form);
    draw();
    dialog.showModal();
    into.focus();

    function changeOf() {
      const [chosen, token] = [act.value(), spaced(into.value, text)];
      if (chosen === "replace") return { replaced: [[position, token]], change: null };
      const from_ = about.layers.indexOf(from);
      const layers = { from: about.layers.slice(from_), here: [from], all: null }[where.value()];
      const change = { do: chosen, layers, positions: at.value() === "here" ? [position] : null, strength: strength.valueAsNumber, called: { token: text, into: token.replace(/^ /, "␣") } };
      return { change: { ...change, token: id, into: chosen === "swap" ? token : null }, replaced: [] };
    }
  }

  return { open };
}

const layerNamed = (layer) => (layer === "embed" ? "the embedding" : `layer ${layer}`);

/** A token as it is typed; with a space before it if the one in whose place it comes has one. */
export const spaced = (typed, text) => (/^[␣ ]/.test(text) && !/^[␣ ]/.test(typed) ? ` ${typed}` : typed.replace(/^␣/, " "));

function radios(name, choices, chosen) {
  const boxes = choices.map(([value]) => make("input", { type: "radio", name, value, checked: value === chosen }));
  return {
    lines: boxes.map((box, place) => make("label", {}, box, ` ${choices[place][1]}`)),
    value: () => boxes.find((box) => /** @type {HTMLInputElement} */ (box).checked).value,
  };
}
