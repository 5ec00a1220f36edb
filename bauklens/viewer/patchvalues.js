// What the patches of a picture show: their top tokens, or the probability of a pinned token.

import { textOf } from "./cells.js";
import { cellOf, probabilityAt, tokenAt } from "./data.js";
import { followed, isKnown } from "./follow.js";
import { probabilityText, range, valueText } from "./numbers.js";
import { markOf, pinned } from "./pins.js";
import { layerCalled, worded } from "./words.js";

const ABREAST = 8; // positions in a row, if it is not known which part each reads

/** `{ columns: [[column, ...], ...], isPlaced }`, row by row: -1 if no column of the lens reads that part; none if none reads any. */
export function patchesOf(lens, picture) {
  const columns = new Map(lens.positions.map((position, column) => [position, column]));
  const shown = (positions) => positions.map((position) => columns.get(position) ?? -1);
  if (!picture.positions.some((position) => columns.has(position))) return { columns: [], isPlaced: true };
  if (picture.grid.length) return { columns: picture.grid.map(shown), isPlaced: true };
  const held = shown(picture.positions).filter((column) => column >= 0);
  const rows = Array.from({ length: Math.ceil(held.length / ABREAST) }, (_, row) => held.slice(ABREAST * row, ABREAST * (row + 1)));
  return { columns: rows, isPlaced: false };
}

/** The pin whose probability is shown over a picture; undefined if top tokens are. */
export const pinOver = (lens, state) => (state.patches === "pin" ? pinned(lens, state).find(({ key }) => key === state.pin) : undefined);

/**
 * What patches show in one row of the lens: `{ of(column), legend: [text, ...], pin }`.
 *
 * `of` gives `{ text, said, p, none, mark }`: p is 0..1, none says that the value is not known, said is a sentence.
 */
export function patchContent(lens, state, row, picture) {
  const pin = pinOver(lens, state);
  return pin ? ofPin(lens, row, picture, pin) : ofTops(lens, state, row);
}

function ofTops(lens, state, row) {
  const pins = pinned(lens, state);
  const of = (column) => {
    const cell = cellOf(lens, row, column);
    const [token, p] = [tokenAt(lens, cell), probabilityAt(lens, cell)];
    return { text: textOf(lens, token, state), said: `${lens.shown[token]} ${probabilityText(p)}`, p, none: false, mark: markOf(lens, pins, cell) };
  };
  const legend = [`In each patch, its top token at ${layerCalled(lens, row)}; a stronger colour means more probable, 0 to 1`];
  return { of, pin: null, legend: legend.map((text) => worded(lens, text)) };
}

function ofPin(lens, row, picture, pin) {
  const { probability } = followed(lens, pin.token);
  const most = largest(lens, probability, patchesOf(lens, picture).columns.flat());
  const name = lens.shown[pin.token];
  const of = (column) => {
    const value = probability[cellOf(lens, row, column)];
    const none = Number.isNaN(value);
    const said = none ? `${name} is not in the top ${lens.topk}: its probability is not known` : `${name} ${probabilityText(value)}`;
    return { text: none ? "" : probabilityText(value), said, p: none ? 0 : Math.min(1, value / (most || 1)), none, mark: null };
  };
  const known = isKnown(lens, pin.token) ? "known in every patch, because it was followed" : `hatched: not in the top ${lens.topk} there, so not known`;
  const legend = [`Probability of ${name} at ${layerCalled(lens, row)} (full colour = ${valueText(most)}, the largest in any layer); ${known}`];
  return { of, pin, legend };
}

/** The largest known probability in some columns, over all layers. */
function largest(lens, probability, columns) {
  const held = columns.filter((column) => column >= 0);
  let most = 0;
  for (let row = 0; row < lens.rows; row += 1) {
    most = Math.max(most, range(held.map((column) => probability[cellOf(lens, row, column)]))[1]);
  }
  return most;
}

/** The patch that an arrow key goes to from a patch, [down, across], over those without a column; null for any other key. */
export function movedPatch(key, columns, [down, across]) {
  const [last, end] = [columns.length - 1, columns[down].length - 1];
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const ends = { Home: columns[down].findIndex((each) => each >= 0), End: columns[down].findLastIndex((each) => each >= 0) };
  if (key in ends) return [down, ends[key]];
  if (!(key in steps)) return null;
  const [below, beside] = steps[key];
  let [one, other] = [down + below, across + beside];
  const isInside = () => one >= 0 && one <= last && other >= 0 && other <= (beside ? end : columns[one].length - 1);
  while (isInside()) {
    if (columns[one][other] >= 0) return [one, other];
    [one, other] = [one + below, other + beside];
  }
  return [down, across];
}
