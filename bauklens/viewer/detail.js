// What is known of one cell: its top k, each with its pin, and its measures.

import { cellOf, keyOf, probabilityAt, tokenAt } from "./data.js";
import { button, make } from "./dom.js";
import { probabilityText, valueText } from "./numbers.js";
import { leadsFrom, pinned } from "./pins.js";

/** `{ element, draw() }`: of the cell under the pointer, or of the chosen one. */
export function detail(view) {
  const place = make("h3", { class: "place" });
  const tops = make("div");
  const measures = make("dl", { class: "measures" });
  const told = make("p", { class: "told", "aria-live": "polite" });
  const element = make("section", { class: "detail", "aria-label": "the chosen cell" }, place, tops, told, measures);

  function draw() {
    const { lens, row, column } = view.seen();
    const [layer, position] = [lens.layers[row], lens.positions[column]];
    const several = view.state.show === "difference" ? view.lenses : [lens];
    place.replaceChildren(
      make("span", {}, `after ${lens.tokens[column]}`),
      make("small", {}, `${layer === "embed" ? "embedding" : `layer ${layer}`}, position ${position}`),
    );
    place.title = lens.tokens[column];
    tops.replaceChildren(...several.flatMap((each) => topOf(each, cellOf(each, row, column), several.length > 1)));
    measures.replaceChildren(...several.flatMap((each) => measuresOf(each, cellOf(each, row, column), several.length > 1)));
    told.textContent = several.map((each) => sentence(each, column, several.length > 1)).join(" ");
  }

  function topOf(lens, cell, isNamed) {
    const pins = new Map(pinned(lens, view.state).map((pin) => [pin.token, pin]));
    const ranks = Array.from({ length: lens.topk }, (_, rank) => rank);
    const list = make("ol", { class: "tops" }, ...ranks.map((rank) => line(lens, cell, rank, pins)));
    return isNamed ? [make("p", { class: "whose" }, make("bdi", {}, lens.name)), list] : [list];
  }

  function line(lens, cell, rank, pins) {
    const token = tokenAt(lens, cell, rank);
    const [text, probability, pin] = [lens.shown[token], probabilityAt(lens, cell, rank), pins.get(token)];
    const toggle = button(pin?.shape ?? "○", () => view.pin(keyOf(lens, token)), {
      class: "pin",
      "aria-pressed": String(Boolean(pin)),
      "aria-label": `pin ${text}`,
      title: pin ? "unpin this token" : "pin this token: follow it through the layers",
      style: pin ? { "--pin": pin.colour } : {},
    });
    const bar = make("span", { class: "bar", style: { "--p": probability.toFixed(4) } });
    const name = make("bdi", { class: "token", title: `${text}${lens.ids ? `, id ${lens.ids[token]}` : ""}` }, text);
    return make("li", {}, toggle, name, bar, make("span", { class: "number" }, probabilityText(probability)));
  }

  function measuresOf(lens, cell, isNamed) {
    const whose = isNamed ? [make("dt", { class: "whose" }, make("bdi", {}, lens.name)), make("dd")] : [];
    const lines = Object.values(lens.measures).flatMap(({ name, unit, about }) => [
      make("dt", { title: about }, name.replaceAll("_", " ")),
      make("dd", { title: about }, `${valueText(lens.values[name][cell])}${/^[a-z]+$/.test(unit) ? ` ${unit}` : ""}`),
    ]);
    const followed = lens.targets.flatMap((target) => [
      make("dt", {}, make("bdi", {}, target.shown)),
      make("dd", {}, `${probabilityText(target.probability[cell])}${rankText(target.rank[cell])}`),
    ]);
    return [...whose, ...followed, ...lines];
  }

  /** Where the pinned tokens take the lead at a position. */
  function sentence(lens, column, isNamed) {
    const said = pinned(lens, view.state).map(({ token, shape }) => {
      const row = leadsFrom(lens, token, column);
      const where = row === null ? "does not lead at the end" : `leads from layer ${lens.layers[row]} on`;
      return `${shape} ${lens.shown[token]} ${where}`;
    });
    return said.length ? `${isNamed ? `${lens.name}: ` : ""}${said.join("; ")}.` : "";
  }

  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    view.home();
  });
  return { element, draw, focus: () => tops.querySelector("button")?.focus() };
}

const rankText = (rank) => (Number.isNaN(rank) ? "" : `, rank ${rank.toLocaleString("en")}`);
