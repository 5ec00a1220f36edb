// What a cell's colour says: numbers 0..1 for the stylesheet, and the legend that says what they are.

import { cellOf, probabilityAt } from "./data.js";
import { followed } from "./follow.js";
import { range, valueText } from "./numbers.js";
import { scaleOf } from "./scale.js";
import { worded } from "./words.js";

const OWN = new Set(["both", "classic", "probability", "token", "rank", "top"]); // a file's measure of such a name cannot be chosen
const RANKS = new Set(["rank", "rank_of_next"]);

/** Every choice for one lens: [value, text]; `pairColours` are those of two. */
export function colours(lens, state) {
  const chosen = [
    ["both", "probability and magnitude"],
    ["classic", "classic: magnitude, text by probability"],
    ["probability", "probability"],
  ];
  const pinned = state.pin !== null ? [["token", "probability of the pinned token"], ["rank", "rank of the pinned token"]] : [];
  const measures = Object.keys(lens.measures).filter((name) => !OWN.has(name));
  return spoken(lens, [...chosen, ...pinned, ...measures.map((name) => [name, name.replaceAll("_", " ")])]);
}

const spoken = (lens, choices) => choices.map(([value, text]) => [value, worded(lens, text)]);

/** The colour that is chosen, where it can be: of the pinned token there is none without a pin. */
export const colourOf = (lens, state) =>
  colours(lens, state).some(([value]) => value === state.colour) ? state.colour : "both";

/** The colour of cells: `{ at(cell) -> [p, m], classic, legend: [text, ...] }`, p and m 0..1; p is NaN where there is no value. */
export function colouring(lens, { ...state }) {
  state.colour = colourOf(lens, state);
  const magnitude = lens.values.magnitude;
  const largest = lens.largestMagnitude || 1;
  const share = (cell) => Math.min(1, (magnitude?.[cell] ?? 0) / largest);
  const most = `magnitude (full = ${valueText(largest)}, the largest after position 0)`;
  if (state.colour === "classic") {
    const legend = [`background: ${most}`, worded(lens, "text colour: probability of the top token, 0 to 1")];
    return { classic: true, at: (cell) => [probabilityAt(lens, cell), share(cell)], legend };
  }
  if (state.colour === "both") {
    const bar = magnitude ? [`bar: ${most}`] : ["no magnitudes in this file"];
    const legend = [worded(lens, "background: probability of the top token, 0 to 1"), ...bar];
    return { at: (cell) => [probabilityAt(lens, cell), share(cell)], legend };
  }
  const [values, what, unit] = valuesOf(lens, state);
  const logarithmic = RANKS.has(state.colour);
  const { low, high, beyond } = endsOf(lens, values, state.colour);
  const part = logarithmic
    ? (value) => 1 - Math.log(value) / (Math.log(Math.max(high, 2)) || 1)
    : (value) => (value - low) / (high - low || 1);
  const ofPin = state.colour === "token" || state.colour === "rank"; // elsewhere it is in no top k, so improbable
  const missing = values.some(Number.isNaN) ? (ofPin ? "; blank elsewhere" : "; hatched: no value") : "";
  const scale = logarithmic ? `1 (full) to ${valueText(high)}, logarithmic` : `${valueText(low)} to ${valueText(high)}`;
  const full = beyond.length ? ` (full beyond: ${beyond.join(", ")})` : "";
  const legend = [`background: ${what}, ${scale}${unit ? ` ${unit}` : ""}${full}${missing}`];
  const valueAt = (cell) => Math.max(0, Math.min(1, part(values[cell])));
  return { at: (cell) => [ofPin ? valueAt(cell) || 0 : valueAt(cell), 0], legend };
}

function valuesOf(lens, state) {
  if (state.colour === "token" || state.colour === "rank") {
    const token = lens.places.get(state.pin);
    if (token === undefined) return [[], worded(lens, "the pinned token, which is not in this lens"), ""];
    const found = followed(lens, token);
    const where = found.source === "top" ? " if it is in the top k" : "";
    const what = state.colour === "rank" ? "rank" : "probability";
    return [found[what === "rank" ? "rank" : "probability"], `${what} of ${lens.shown[token]}${where}`, ""];
  }
  if (state.colour === "probability") {
    return [topProbabilities(lens), worded(lens, "probability of the top token"), ""];
  }
  const { name, unit, about } = lens.measures[state.colour];
  const units = /^[a-z]+$/.test(unit) ? unit : "";
  return [lens.values[name], `${name.replaceAll("_", " ")} (${about})`, units];
}

const topProbabilities = (lens) =>
  Float32Array.from({ length: cellOf(lens, lens.rows, 0) }, (_, cell) => probabilityAt(lens, cell));

/** The ends of a scale: a probability's are 0 and 1, a rank's the last one that there is. */
function endsOf(lens, values, colour) {
  if (colour === "probability" || colour === "token") return { low: 0, high: 1, beyond: [] };
  return RANKS.has(colour) ? { low: 1, high: range(values)[1], beyond: [] } : scaleOf(lens, values);
}
