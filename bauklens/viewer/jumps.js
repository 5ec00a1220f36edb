// Positions at which something surprising happens, and the way from one to the next.

import { cellOf, tokenAt } from "./data.js";

const SHARE = 0.1; // of the positions are surprising, at least one

/** What a lens can be searched by: [name, text]. */
export function jumpsOf(lens) {
  const measures = ["surprisal", "entropy"].filter((name) => lens.values[name]).map((name) => [name, name]);
  return [...measures, ["decided", "layer of decision"]];
}

/** The row from which on the token that leads at the end leads at a column. */
export function decidedAt(lens, column) {
  const last = tokenAt(lens, cellOf(lens, lens.rows - 1, column));
  let row = lens.rows - 1;
  while (row > 0 && tokenAt(lens, cellOf(lens, row - 1, column)) === last) row -= 1;
  return row;
}

/** A value for every column: the last row's surprisal or entropy, or the row of decision. */
export function jumpValues(lens, by) {
  if (by === "decided") return Float32Array.from({ length: lens.columns }, (_, column) => decidedAt(lens, column));
  return lens.values[by].subarray(cellOf(lens, lens.rows - 1, 0));
}

const surprises = new WeakMap(); // lens -> what it is searched by -> columns

/** The columns with the largest values, a tenth of them, in order; position 0, where nothing comes before, is none. */
export function surprising(lens, by) {
  if (!surprises.has(lens)) surprises.set(lens, new Map());
  const found = surprises.get(lens);
  if (!found.has(by)) found.set(by, mostSurprising(lens, by));
  return found.get(by);
}

function mostSurprising(lens, by) {
  const values = jumpValues(lens, by);
  const columns = [...values.keys()].filter((column) => Number.isFinite(values[column]) && (lens.positions[column] !== 0 || lens.columns === 1));
  columns.sort((one, other) => values[other] - values[one] || one - other);
  return columns.slice(0, Math.max(1, Math.ceil(SHARE * columns.length))).sort((one, other) => one - other);
}

/** The next of them after a column, or before it; null if there is none. */
export function nextOf(columns, column, isForward) {
  const found = isForward ? columns.find((each) => each > column) : columns.findLast((each) => each < column);
  return found ?? null;
}
