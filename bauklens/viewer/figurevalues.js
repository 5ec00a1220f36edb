// What the cells of a publication figure show: pins, and numbers 0..1 for colours. `show/figure_values.py` has the same.

import { cellOf, probabilityAt, rankAt } from "./data.js";
import { cutToUnits } from "./figuredrawing.js";
import { followed, sourceOf } from "./follow.js";
import { range } from "./numbers.js";
import { worded } from "./words.js";

const OF_PIN = ["token", "rank", "logprob"];
const LOGARITHMIC = ["rank", "rank_of_next"];
const LONGEST_NAME = 30; // characters

/** The colours that a figure can have, [value, text] each. */
export function figureColourings(lens, pins) {
  const own = [["both", "probability and magnitude"], ["classic", "classic: magnitude, text by probability"], ["probability", "probability"]];
  const first = pins.length ? cutToUnits(lens.shown[pins[0]], LONGEST_NAME) : "";
  const ofPin = pins.length ? [["token", `probability of ${first}`], ["rank", `rank of ${first}`], ["logprob", `log probability of ${first}`]] : [];
  const names = Object.keys(lens.measures).filter((name) => ![...own, ...ofPin].some(([value]) => value === name) && !OF_PIN.includes(name));
  const measures = names.map((name) => [name, name.replaceAll("_", " ")]);
  const spoken = (choices) => choices.map(([value, text]) => [value, worded(lens, text)]);
  return [...spoken(own), ...ofPin, ...spoken(measures)];
}

/** Tokens, by their places among the lens's texts, as pins: `{ text, place, probability, rank, best(cell), known }`. */
export const figurePins = (lens, tokens) =>
  tokens.map((token, place) => ({
    token,
    place,
    text: cutToUnits(lens.shown[token], LONGEST_NAME),
    known: ["target", "tracked"].includes(sourceOf(lens, token)),
    probability: followed(lens, token).probability,
    rank: followed(lens, token).rank,
    best: (cell) => rankAt(lens, cell, token),
  }));

/** What the colours of cells say: `{ part(cell), bar(cell) or null, about, ends, barsAbout }`. */
export function figureScale(lens, colour, pins) {
  const top = worded(lens, "probability of the top token");
  const magnitude = lens.values.magnitude;
  if (colour === "both" || colour === "classic") {
    const largest = lens.largestMagnitude || 1;
    const bar = magnitude ? (cell) => Math.min((magnitude[cell] || 0) / largest, 1) : null;
    const after = lens.positions.at(-1) < 1 ? "" : ", the largest after position 0";
    return { part: (cell) => probabilityAt(lens, cell), bar, about: top, ends: ["0", "1"], barsAbout: `magnitude (full = ${figureNumber(largest)}${after})` };
  }
  const known = valuesOfColour(lens, colour, pins);
  const { values } = known;
  const missing = values.some(Number.isNaN) ? "; a stroke: not known" : "";
  if (colour === "probability" || colour === "token") return { part: (cell) => values[cell], bar: null, about: `${known.about}${missing}`, ends: ["0", "1"] };
  const [least, most] = range(lens.layers[0] === "embed" && lens.rows > 1 ? values.slice(lens.columns) : values);
  const [low, high] = colour === "logprob" ? [least, 0] : [Math.min(0, least), most];
  const about = `${known.about}${known.unit === "nats" ? ", nats" : ""}${missing}`;
  if (LOGARITHMIC.includes(colour)) {
    const last = Math.max(range(values)[1], 2);
    return { part: (cell) => clipped(1 - Math.log(values[cell]) / Math.log(last)), bar: null, about: `${about}, logarithmic`, ends: [figureNumber(last), "1"] };
  }
  const beyond = range(values)[1] > high ? ` (embed reaches ${figureNumber(range(values)[1])}, shown as full)` : "";
  return { part: (cell) => clipped((values[cell] - low) / (high - low || 1)), bar: null, about: about + beyond, ends: [figureNumber(low), figureNumber(high)] };
}

function valuesOfColour(lens, colour, pins) {
  if (colour === "probability") {
    const values = Float32Array.from({ length: cellOf(lens, lens.rows, 0) }, (_, cell) => probabilityAt(lens, cell));
    return { values, about: worded(lens, "probability of the top token"), unit: "" };
  }
  if (colour === "token") return { values: pins[0].probability, about: `probability of ${pins[0].text}`, unit: "" };
  if (colour === "rank") return { values: pins[0].rank, about: `rank of ${pins[0].text}`, unit: "" };
  if (colour === "logprob") return { values: pins[0].probability.map(Math.log), about: `log probability of ${pins[0].text}`, unit: "nats" };
  return { values: lens.values[colour], about: colour.replaceAll("_", " "), unit: lens.measures[colour].unit };
}

const clipped = (part) => Math.min(1, Math.max(0, part)); // NaN stays

/** Four digits. */
export function figureNumber(value) {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (value && size < 0.001) return value.toExponential(0);
  return String(Number(size < 1 ? value.toFixed(4) : value.toPrecision(4)));
}
