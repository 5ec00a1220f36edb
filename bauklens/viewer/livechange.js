// The dialog in which a change is made: on a token of a cell, or on a token of the prompt.

import { button, make } from "./dom.js";
import { range } from "./numbers.js";

const CELL_ACTS = [["swap", "Swap"], ["strengthen", "Strengthen"], ["remove", "Remove"]];
const PROMPT_ACTS = [["replace", "Replace"], ["patch", "Patch states from another prompt"]];
const HINTS = {
  swap: "If a state points to this token, it points to the other one instead. Only the first token of your text is used.",
  strengthen: "The states get more of the token: the strength sets how much, and a negative one takes it away.",
  remove: "The token’s direction is removed from the states.",
  replace: "The model reads another token there. Only the first token of your text is used.",
  patch: "The states of the other prompt at this place are put in. If the prompts differ in length, positions are counted from the end.",
};

/** `open({ id, text, layer, position }, ask)`; without an id it is a token of the prompt. `send(ask)` is called with the changed look. */
export function changing(about, send) {
  const dialog = /** @type {HTMLDialogElement} */ (make("dialog", { class: "live-change", "aria-label": "change" }));
  document.body.append(dialog);
  let other = ""; // the prompt that was patched from last
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  function open({ id = null, text, layer = null, position }, ask) {
    const acts = id === null ? PROMPT_ACTS : CELL_ACTS;
    const into = make("input", { type: "text", "aria-label": "the other token", placeholder: "a word, such as Rome", spellcheck: "false", autocomplete: "off" });
    const source = make("textarea", { "aria-label": "the other prompt", rows: 2, spellcheck: "false", dir: "auto" });
    const hint = make("p", { class: "hint" });
    const strength = make("input", { type: "number", step: "0.1", min: "-100", max: "100", value: "1", "aria-label": "strength" });
    const act = radios("act", acts, acts[0][0]);
    const layers = (id !== null && about.mapped[ask.decoder]) || about.layers;
    const [first, last] = suggested(layers, layer);
    const layerMenu = (label, chosen) => make("select", { "aria-label": label }, ...layers.map((each, place) => make("option", { value: each, selected: place === chosen }, each)));
    const [from, to] = [layerMenu("the layer", first), layerMenu("the last layer", last)];
    const where = radios("layers", [["some", "from one layer to another"], ["here", "only one layer"], ["all", "all layers"]], id === null ? "all" : "some");
    const at = radios("positions", [["here", `only position ${position}`], ["all", "all positions"]], id === null ? "here" : "all");
    const form = make("form", { method: "dialog" },
      make("h2", {}, "Change ", make("bdi", {}, text), make("small", {}, layer === null ? ` position ${position}` : ` ${layerNamed(layer)}, position ${position}`)),
      make("fieldset", {}, make("legend", {}, "Action"), ...act.lines, make("label", { class: "into" }, id === null ? "with " : "for ", into), make("label", { class: "source" }, "Other prompt ", source), make("label", { class: "strength" }, "strength ", strength), hint),
      make("fieldset", { class: "where" }, make("legend", {}, "Layers"), ...where.lines, make("label", { class: "from" }, "layer ", from), make("label", { class: "to" }, "to ", to)),
      make("fieldset", { class: "where" }, make("legend", {}, "Positions"), ...at.lines),
      make("div", { class: "buttons" }, make("button", { type: "submit", class: "main" }, "Change"), button("Cancel", () => dialog.close())),
    );
    const draw = () => {
      const chosen = act.value();
      form.querySelector(".into").hidden = !["swap", "replace"].includes(chosen);
      form.querySelector(".strength").hidden = id === null;
      form.querySelectorAll(".where").forEach((each) => (each.hidden = chosen === "replace"));
      into.required = ["swap", "replace"].includes(chosen);
      form.querySelector(".source").hidden = !(source.required = chosen === "patch");
      form.querySelector(".from").hidden = where.value() === "all";
      form.querySelector(".to").hidden = where.value() !== "some";
      hint.textContent = HINTS[chosen];
    };
    form.addEventListener("change", draw);
    form.addEventListener("submit", () => send({ ...ask, ...changeOf() }));
    dialog.replaceChildren(form);
    source.value = ask.other || other || ask.prompt || ask.messages?.findLast(({ role }) => role === "user")?.content || "";
    draw();
    dialog.showModal();
    into.focus();

    function changeOf() {
      const [chosen, token] = [act.value(), spaced(into.value, text)];
      if (chosen === "replace") return { replaced: [[position, token]], change: null, called: text };
      if (chosen === "patch") other = source.value;
      const [begin, end] = range([from.selectedIndex, to.selectedIndex]);
      const chosenLayers = { some: layers.slice(begin, end + 1), here: [from.value], all: null }[where.value()];
      const change = { do: chosen, layers: chosenLayers, positions: at.value() === "here" ? [position] : null, strength: strength.valueAsNumber, called: { token: text, into: token.replace(/^ /, "␣") } };
      return { change: { ...change, token: id, into: chosen === "swap" ? token : null }, replaced: [], ...(chosen === "patch" ? { other } : {}) };
    }
  }

  return { open };
}

/** The places of the first and the last layer of a change, unless others are chosen: the last third acts on the answer directly. */
export function suggested(layers, layer) {
  const [place, last] = [layers.indexOf(layer), Math.floor((2 * layers.length) / 3)];
  return [place < 0 || place > last ? Math.floor(layers.length / 3) : place, last];
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
