// The lines of the reader: a position at every layer, or a layer at every position.

import { cellOf, isAbsent, probabilityAt, tokenAt } from "./data.js";
import { tickOf } from "./heads.js";
import { layerCalled } from "./words.js";
import { isLeftOut } from "./wordlike.js";

/** Lines in their order: { row, column, label, title }; layers lie as in the table. */
export function readLines(lens, state, row, column) {
  if (state.panel === "positions") return lens.positions.map((_, each) => positionLine(lens, row, each)).filter((line) => !isAbsent(lens, line.column));
  const lines = lens.layers.map((layer, each) => ({ row: each, column, label: [layer], title: layerCalled(lens, each) }));
  return state.bottomUp ? lines.reverse() : lines;
}

const positionLine = (lens, row, column) => ({
  row,
  column,
  label: [String(lens.positions[column]), tickOf(lens, column)],
  title: `position ${lens.positions[column]} ${tickOf(lens, column)}`,
});

/** The top tokens of a line's cell in order: { token, rank, probability }; of words only, the ranks of others are left out. */
export function readTokens(lens, state, { row, column }) {
  const cell = cellOf(lens, row, column);
  const all = Array.from({ length: lens.topk }, (_, place) => ({ token: tokenAt(lens, cell, place), rank: place + 1, probability: probabilityAt(lens, cell, place) }));
  return all.filter(({ token }) => !isLeftOut(lens, token, state));
}
