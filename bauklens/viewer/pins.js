// Tokens that are followed: a colour and a shape each, and where they stand.

import { cellOf, followed, rankAt } from "./data.js";

const SHAPES = ["●", "▲", "■", "◆", "★", "✚"];

/** The pins that a lens holds: { key, token, shape, colour }. */
export function pinned(lens, state) {
  return state.pins
    .map((key, place) => ({ key, token: lens.places.get(key), shape: SHAPES[place], colour: `var(--pin-${place})` }))
    .filter((pin) => pin.token !== undefined);
}

/** Which pin a cell shows: the one that leads, or the best of those in its top k; with its rank. */
export function markOf(lens, pins, cell) {
  let best = null;
  for (const pin of pins) {
    const rank = rankAt(lens, cell, pin.token);
    if (rank && (!best || rank < best.rank)) best = { ...pin, rank };
  }
  return best;
}

/** Values of a token along a line of cells: over the layers at a column, or over the positions at a row. */
export function along(lens, token, { row, column }, what) {
  const values = followed(lens, token)[what];
  return row === undefined
    ? Array.from({ length: lens.rows }, (_, each) => values[cellOf(lens, each, column)])
    : Array.from({ length: lens.columns }, (_, each) => values[cellOf(lens, row, each)]);
}

/** The layer from which on a token leads at a column to the end; null where it does not lead at the end. */
export function leadsFrom(lens, token, column) {
  let first = null;
  for (let row = lens.rows - 1; row >= 0; row -= 1) {
    if (rankAt(lens, cellOf(lens, row, column), token) !== 1) break;
    first = row;
  }
  return first;
}
