// The elements of the reader: a line with its label and its tokens.

import { make } from "./dom.js";
import { cutTo, probabilityText } from "./numbers.js";
import { LONGEST_READ, readTokens } from "./readlines.js";

export const LINE_HEIGHT = 24; // pixels

/** A line of the reader at a place among all; `pins` are by token. */
export function lineElement(lens, state, pins, line, place) {
  const [number, token] = line.label;
  const head = make("div", { class: "label", role: "rowheader", tabindex: "-1", title: `choose ${line.title}`, "aria-label": line.title }, number, token !== undefined && make("bdi", {}, token));
  const about = { class: "readline", role: "row", "aria-rowindex": place + 1, style: { top: `${LINE_HEIGHT * place}px` } };
  const words = readTokens(lens, state, line).map((each) => wordElement(lens, pins.get(each.token), each));
  return Object.assign(make("div", about, head, ...words), { place });
}

function wordElement(lens, pin, { token, rank, probability }) {
  const text = lens.shown[token];
  const said = `${cutTo(text, 60)}, rank ${rank}, ${probabilityText(probability)}${pin ? `, pinned ${pin.shape}` : ""}`;
  const about = { class: pin ? "word pinned" : "word", role: "gridcell", tabindex: "-1", title: said, "aria-label": said, style: { "--p": probability.toFixed(3), ...(pin ? { "--pin": pin.colour } : {}) } };
  return Object.assign(make("div", about, pin && make("b", {}, pin.shape), make("bdi", {}, cutTo(text, LONGEST_READ))), { token });
}

/** Marks a line, if it is there, as that of the chosen cell, or as another. */
export function markLine(line, isChosen) {
  line?.classList.toggle("chosen", isChosen);
  line?.setAttribute("aria-selected", String(isChosen));
}
