// What differs between two lenses: in the table of the first, what both say in each cell.

import { shortened, textOf } from "./cells.js";
import { cellOf, keyOf, rowOf, tokenAt } from "./data.js";
import { followed, isKnown } from "./follow.js";
import { range, valueText } from "./numbers.js";
import { markOf, pinned } from "./pins.js";
import { aboutMarks } from "./rows.js";
import { aboutUnread, isUnread, worded } from "./words.js";

const TIMES = 1000; // by how many times two ranks differ if the colour is full

/** As `contentOf`, for two lenses. A row that the other does not have is hatched. */
export function difference(lenses, state) {
  const [one, other] = lenses;
  const pins = lenses.map((lens) => pinned(lens, state));
  const compared = state.pin !== null && state.colour === "rank" ? byRank(lenses, state) : byProbability(lenses, state);
  const of = (row, column) => {
    const there = rowOf(other, one.layers[row]);
    if (there < 0) return { text: textOf(one, tokenAt(one, cellOf(one, row, column)), state), p: 0, m: 0, mark: null, none: true };
    const cells = [cellOf(one, row, column), cellOf(other, there, column)];
    const tops = lenses.map((lens, place) => tokenAt(lens, cells[place]));
    const keys = lenses.map((lens, place) => keyOf(lens, tops[place]));
    const marks = lenses.map((lens, place) => markOf(lens, pins[place], cells[place])).filter(Boolean);
    const mark = marks.sort((left, right) => left.rank - right.rank)[0] ?? null;
    const texts = lenses.map((lens, place) => textOf(lens, tops[place], state));
    const words = keys[0] === keys[1] ? texts[0] : texts.join(" | ");
    return { text: words, m: keys[0] === keys[1] ? 0 : 1, mark, unread: isUnread(lenses, column), ...compared.of(cells, keys) };
  };
  const left = one.layers.some((layer) => rowOf(other, layer) < 0) ? [`hatched: ${other.name} has no such row`] : [];
  return { of, legend: [compared.about, worded(one, "bar: the top tokens differ"), ...left, ...aboutMarks(lenses), ...aboutUnread(lenses)] };
}

/** By how much the probability of the pinned token differs, or of the top tokens; or a measure of the two together. */
function byProbability([one, other], state) {
  const pin = state.colour === "top" ? null : state.pin;
  if (Object.hasOwn(one.between, state.colour)) return byMeasure(one, state.colour);
  const text = pin === null ? null : nameOf([one, other], pin);
  const apart = ([here, there], keys) =>
    Math.abs(probabilityOf(other, there, pin ?? keys[1]) - probabilityOf(one, here, pin ?? keys[0]));
  if (pin === null) {
    const of = (cells, keys) => ({ p: shortened(apart(cells, keys)) });
    return { of, about: worded(one, "background: difference between the top tokens’ probabilities, 0 to 1") };
  }
  const most = sharedCells(one, other).reduce((largest, cells) => Math.max(largest, apart(cells, [pin, pin])), 0) || 1;
  const of = (cells, keys) => ({ p: shortened(apart(cells, keys) / most) });
  const outside = isExact([one, other], pin) ? "" : ", 0 outside the top k";
  return { of, about: `background: difference between the probabilities of ${text}, 0 to ${valueText(most)}${outside}` };
}

/** A measure that is of two lenses together, as a part of its largest value. */
function byMeasure(one, name) {
  const values = one.between[name];
  const most = range(values)[1] || 1;
  const of = ([cell]) => ({ p: shortened(Math.max(0, values[cell] / most) || 0) });
  return { of, about: `background: ${name} between the two, 0 to ${valueText(most)}` };
}

/** The pinned token's ranks in both, and how many times they differ. */
function byRank(lenses, { pin }) {
  const ranks = lenses.map((lens) => (lens.places.has(pin) ? followed(lens, lens.places.get(pin)).rank : null));
  const of = (cells) => {
    const found = cells.map((cell, place) => ranks[place]?.[cell] ?? NaN);
    const times = Math.abs(Math.log(found[0] / found[1])) / Math.log(TIMES);
    return { text: found.map(valueText).join(" | "), p: shortened(Math.min(1, times) || 0), none: Number.isNaN(times) };
  };
  const whose = lenses.map(({ name }) => name).join(" | ");
  const outside = isExact(lenses, pin) ? "" : " (– outside the top k)";
  const shown = `in each cell the rank of ${nameOf(lenses, pin)}: ${whose}${outside}`;
  return { of, about: `${shown}; background: the ratio of the two, full from ${valueText(TIMES)} on` };
}

/** Places of cells that both have: [cell of the one, cell of the other]. */
function sharedCells(one, other) {
  const rows = one.layers.map((layer, row) => [row, rowOf(other, layer)]).filter(([, there]) => there >= 0);
  const columns = Array.from({ length: one.columns }, (_, column) => column);
  return rows.flatMap(([row, there]) => columns.map((column) => [cellOf(one, row, column), cellOf(other, there, column)]));
}

/** Whether a token was followed in both, so that its values are known everywhere. */
const isExact = (lenses, key) => lenses.every((lens) => lens.places.has(key) && isKnown(lens, lens.places.get(key)));

const nameOf = ([one, other], key) => one.shown[one.places.get(key)] ?? other.shown[other.places.get(key)];

function probabilityOf(lens, cell, key) {
  const token = lens.places.get(key);
  return token === undefined ? 0 : followed(lens, token).probability[cell] || 0;
}
