// The lines of the reader: a position at every layer, or a layer at every position.

import { cellOf, isAbsent, probabilityAt, tokenAt } from "./data.js";
import { atOrAfter, nameOver, tickOf } from "./heads.js";
import { cutTo } from "./numbers.js";
import { layerCalled, worded } from "./words.js";
import { isLeftOut } from "./wordlike.js";

/** Characters of a token that are read. */
export const LONGEST_READ = 16;

/** Lines in their order: { row, column, label, title }; layers lie as in the table. */
export function readLines(lens, state, row, column) {
  if (state.panel === "positions") return lens.positions.map((_, each) => positionLine(lens, row, each)).filter((line) => !isAbsent(lens, line.column));
  const lines = lens.layers.map((layer, each) => ({ row: each, column, label: [layer], title: layerCalled(lens, each) }));
  return state.bottomUp ? lines.reverse() : lines;
}

/** The texts of a line are made when it is built, as there may be very many. */
const positionLine = (lens, row, column) => ({
  row,
  column,
  get label() {
    return [String(lens.positions[column]), tickOf(lens, column)];
  },
  get title() {
    return `position ${lens.positions[column]} ${tickOf(lens, column)}`;
  },
});

/** The top tokens of a line's cell in order: { token, rank, probability }; of words only, the ranks of others are left out. */
export function readTokens(lens, state, { row, column }) {
  const cell = cellOf(lens, row, column);
  const all = Array.from({ length: lens.topk }, (_, place) => ({ token: tokenAt(lens, cell, place), rank: place + 1, probability: probabilityAt(lens, cell, place) }));
  return all.filter(({ token }) => !isLeftOut(lens, token, state));
}

/** What the lines are: the top tokens of a position at every layer, or of a layer at every position. */
export function readHere(lens, { panel }, row, column) {
  const position = () => `position ${lens.positions[column]}, ${atOrAfter(lens, column)} ${cutTo(nameOver(lens, column), LONGEST_READ)}, at every layer`;
  const place = panel === "layers" ? position() : `${layerCalled(lens, row)}, at every position`;
  return `${worded(lens, `top ${lens.topk} tokens`)} at ${place}`;
}
