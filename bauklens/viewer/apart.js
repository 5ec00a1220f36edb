// How far apart two lenses are in each cell, as colours: their distance, a measure of both, or what becomes of the pinned token.

import { shortened } from "./cells.js";
import { betweenOf, cellOf, isAbsent, rowOf } from "./data.js";
import { followed } from "./follow.js";
import { changeText, range, valueText } from "./numbers.js";
import { worded } from "./words.js";

const TIMES = 1000; // by how many times two ranks differ if the colour is full

/** The colours that two lenses can have: [value, text] each. */
export function pairColours([one, other], state) {
  const distance = "distance of the predictions";
  const usual = state.pin === null ? [["both", distance]] : [["both", "change of the pinned token’s log p"], ["rank", "rank of the pinned token"], ["top", distance]];
  const measures = Object.keys(betweenOf(one, other)).filter((name) => name !== "distance");
  return [...usual, ...measures.map((name) => [name, NAMES[name] ?? name.replaceAll("_", " ")])].map(([value, text]) => [value, worded(one, text)]);
}

const NAMES = { js: "Jensen-Shannon divergence", js_bound: "least Jensen-Shannon divergence", kl: "KL divergence" };

/** The colours of two lenses: `{ of([cell, other cell]), about, scale }`; `scale` are colours as cells have them. */
export function apart(lenses, state) {
  const between = betweenOf(...lenses);
  if (state.colour !== "distance" && Object.hasOwn(between, state.colour)) return byMeasure(state.colour, between[state.colour]);
  if (state.pin === null || state.colour === "top") return byDistance(lenses, between.distance);
  return state.colour === "rank" ? byRank(lenses, state) : byChange(lenses, state);
}

const rising = [0, 0.25, 0.5, 0.75, 1].map((p) => ({ p }));

function byDistance([one, other], values) {
  if (!values) return { of: () => ({ p: 0, none: true }), about: "hatched: the distance is not known", scale: [] };
  const of = (cells) => ({ p: shortened(values[cells[0]] || 0), none: Number.isNaN(values[cells[0]]) });
  return { of, about: `background: ${one.legends[other.place]}`, scale: rising };
}

/** A measure that is of two lenses together, as a part of its largest value. */
function byMeasure(name, values) {
  const most = range(values)[1] || 1;
  const of = (cells) => ({ p: shortened(Math.min(1, Math.max(0, values[cells[0]] / most)) || 0), none: Number.isNaN(values[cells[0]]) });
  const unit = ["js", "js_bound", "kl"].includes(name) ? " nats" : "";
  return { of, about: `background: ${NAMES[name] ?? name.replaceAll("_", " ")} between the two, 0 to ${valueText(most)}${unit}`, scale: rising };
}

/** How the log-probability of the pinned token changes from the one to the other, on a scale with two hues. */
function byChange(lenses, { pin }) {
  const logs = followedIn(lenses, pin, "logs");
  const change = (cells) => (logs.every(Boolean) ? logs[1][cells[1]] - logs[0][cells[0]] : NaN);
  const all = sharedCells(...lenses).map(change);
  const blocks = lenses[0].layers[0] === "embed" && all.length > sharedColumns(...lenses).length ? all.slice(sharedColumns(...lenses).length) : all;
  const [most, furthest] = [blocks, all].map((some) => some.reduce((largest, each) => (Number.isFinite(each) ? Math.max(largest, Math.abs(each)) : largest), 0));
  const of = (cells) => {
    const value = change(cells);
    if (!Number.isFinite(value)) return { text: "–", p: 0, none: true, change: NaN };
    return { text: changeText(value), p: shortened(Math.min(1, Math.abs(value) / (most || 1))), side: value < 0 ? "less" : "more", change: value };
  };
  const unknown = all.every(Number.isFinite) ? "" : worded(lenses[0], `; hatched: ${nameOf(lenses, pin)} is not known in both${topOnly(lenses, pin)}`);
  const beyond = furthest > most ? ` (embed reaches ${furthest.toFixed(1)}, shown as full)` : "";
  const ends = `${changeText(-most)} (orange) to ${changeText(most)} (blue) nats`;
  const about = `background and number: change of log p of ${nameOf(lenses, pin)} from ${lenses[0].name} to ${lenses[1].name}, ${ends}${beyond}${unknown}`;
  return { of, about, scale: [1, 0.5, 0].map((p) => ({ p, side: "less" })).concat([0.5, 1].map((p) => ({ p, side: "more" }))) };
}

/** The pinned token's ranks in both, and how many times they differ. */
function byRank(lenses, { pin }) {
  const ranks = followedIn(lenses, pin, "rank");
  const of = (cells) => {
    const found = cells.map((cell, place) => ranks[place]?.[cell] ?? NaN);
    const times = Math.abs(Math.log(found[0] / found[1])) / Math.log(TIMES);
    return { text: found.map(valueText).join(" | "), p: shortened(Math.min(1, times) || 0), none: Number.isNaN(times) };
  };
  const whose = lenses.map(({ name }) => name).join(" | ");
  const shown = `in each cell the rank of ${nameOf(lenses, pin)}: ${whose}${topOnly(lenses, pin) && " (– outside the top k)"}`;
  return { of, about: `${shown}; background: the ratio of the two, full from ${valueText(TIMES)} on`, scale: rising };
}

/** The pinned token's values in both; null where a lens does not hold it. */
const followedIn = (lenses, pin, what) =>
  lenses.map((lens) => (lens.places.has(pin) ? followed(lens, lens.places.get(pin))[what] : null));

/** What a legend adds if the token is known only where it is in the top k. */
const topOnly = (lenses, pin) => (lenses.every((lens) => lens.places.has(pin) && followed(lens, lens.places.get(pin)).source !== "top") ? "" : ", only in the top k");

/** Places of cells that both have: [cell of the one, cell of the other]. */
function sharedCells(one, other) {
  const rows = one.layers.map((layer, row) => [row, rowOf(other, layer)]).filter(([, there]) => there >= 0);
  const columns = sharedColumns(one, other);
  return rows.flatMap(([row, there]) => columns.map((column) => [cellOf(one, row, column), cellOf(other, there, column)]));
}

const sharedColumns = (one, other) => Array.from({ length: one.columns }, (_, column) => column).filter((column) => !isAbsent(one, column) && !isAbsent(other, column));

const nameOf = ([one, other], key) => one.shown[one.places.get(key)] ?? other.shown[other.places.get(key)];
