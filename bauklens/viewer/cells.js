// What stands in a cell: its text, its colour, and whether a pinned token is in it.

import { cellOf, followed, keyOf, tokenAt } from "./data.js";
import { colouring } from "./colour.js";
import { cutTo, range, valueText } from "./numbers.js";
import { markOf, pinned } from "./pins.js";

const LONGEST = 60; // characters of a token in a cell

/** `{ of(row, column) -> { text, p, m, mark, none }, classic, legend }` of a lens, or of what differs between two. */
export function contentOf(lenses, state) {
  return lenses.length > 1 ? difference(lenses, state) : content(lenses[0], state);
}

function content(lens, state) {
  const [colours, pins] = [colouring(lens, state), pinned(lens, state)];
  const of = (row, column) => {
    const cell = cellOf(lens, row, column);
    const [p, m] = colours.at(cell);
    const text = textOf(lens, tokenAt(lens, cell), state);
    return { text, p: shortened(p || 0), m: shortened(m), mark: markOf(lens, pins, cell), none: Number.isNaN(p) };
  };
  return { of, classic: colours.classic, legend: colours.legend };
}

function difference([one, other], state) {
  const [between, pins] = [betweenOf(one, state), [one, other].map((lens) => pinned(lens, state))];
  const pin = state.pin;
  const text = pin === null ? null : one.shown[one.places.get(pin)] ?? other.shown[other.places.get(pin)];
  const of = (row, column) => {
    const cell = cellOf(one, row, column);
    const tops = [one, other].map((lens) => [keyOf(lens, tokenAt(lens, cell)), textOf(lens, tokenAt(lens, cell), state)]);
    const same = tops[0][0] === tops[1][0];
    const [from, to] = [one, other].map((lens) => heldProbability(lens, cell, pin ?? keyOf(lens, tokenAt(lens, cell))));
    const words = same ? tops[0][1] : `${tops[0][1]} | ${tops[1][1]}`;
    const p = between ? between.part(cell) : Math.abs(to - from);
    const marks = [markOf(one, pins[0], cell), markOf(other, pins[1], cell)].filter(Boolean);
    const mark = marks.sort((left, right) => left.rank - right.rank)[0] ?? null;
    return { text: words, p: shortened(p), m: same ? 0 : 1, mark };
  };
  const what = text === null ? "the top tokens’ probabilities" : `the probabilities of ${text} (0 outside the top k)`;
  const apart = between ? between.about : `difference between ${what}, 0 to 1`;
  return { of, legend: [`background: ${apart}`, "bar: the top tokens differ"] };
}

/** A measure that is of two lenses together, as a part of its largest value; null where none is chosen. */
function betweenOf(lens, state) {
  if (!Object.hasOwn(lens.between, state.colour)) return null;
  const values = lens.between[state.colour];
  const most = range(values)[1] || 1;
  const about = `${state.colour} between the two, 0 to ${valueText(most)}`;
  return { part: (cell) => Math.max(0, values[cell] / most) || 0, about };
}

function heldProbability(lens, cell, key) {
  const token = lens.places.get(key);
  return token === undefined ? 0 : followed(lens, token).probability[cell] || 0;
}

function textOf(lens, token, state) {
  if (state.hideBlank && !lens.texts[token].trim()) return "·";
  return cutTo(lens.shown[token], LONGEST);
}

const shortened = (value) => Number(value.toFixed(3));
