// The measures of a cell: each with its unit, and what it means in a line that its name shows on focus and under the pointer.

import { button, make } from "./dom.js";
import { valueText } from "./numbers.js";

const RANGES = { "0..1": "from 0 to 1", "-1..1": "from -1 to 1" };
let meanings = 0; // so far on the page; each has an id of its own

/** Names and values of all measures in a cell, for a list, each name with what it means. */
export function cellMeasures(lens, cell) {
  return Object.values(lens.measures).flatMap(({ name, unit, about }) => {
    const [value, called] = [lens.values[name][cell], name.replaceAll("_", " ")];
    const of = /^[a-z]+$/.test(unit) && Number.isFinite(value) ? ` ${unit}` : "";
    return [make("dt", {}, ...(about ? term(called, meaningOf(unit, about)) : [called])), make("dd", {}, `${valueText(value)}${of}`)];
  });
}

/** What a measure means, with its unit. */
export const meaningOf = (unit, about) => `${about} (${RANGES[unit] ?? (unit || "no unit")})`;

function term(called, meaning) {
  meanings += 1;
  const id = `bauklens-meaning-${meanings}-${Math.random().toString(36).slice(2)}`;
  return [button(called, () => {}, { class: "term", "aria-describedby": id }), make("span", { class: "meaning", role: "tooltip", id }, meaning)];
}
