// Tokens that are followed: a colour and a shape each, and where they stand.

import { cellOf, keyOf, probabilityAt, rankAt, tokenAt } from "./data.js";
import { membersOf, placeIn } from "./groups.js";
import { valuesAt } from "./measured.js";
import { inOrder } from "./pinstate.js";
import { leadersOf } from "./tally.js";

const SHAPES = ["●", "▲", "■", "◆", "★", "✚", "▼", "✖"];

/** How many tokens a chart follows unasked. */
export const MOST_LEADERS = SHAPES.length;

/** The pins that a lens holds, in their order: { key, token, members, shape, colour }; `members` are the keys of a sum's tokens. */
export function pinned(lens, state) {
  return inOrder(state)
    .map(({ key, place }) => ({ key, token: placeIn(lens, key), members: membersOf(key), shape: SHAPES[place], colour: `var(--pin-${place})` }))
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
export function along(lens, token, { row = null, column = null }, what) {
  const cells =
    row === null
      ? Array.from({ length: lens.rows }, (_, each) => cellOf(lens, each, column))
      : Array.from({ length: lens.columns }, (_, each) => cellOf(lens, row, each));
  return valuesAt(lens, token, cells, what);
}

/**
 * What leads anywhere at a column: the tokens that are the most probable in some layer, in the order in which they come
 * to lead; of many, the last layer's and those whose probabilities, where they lead, add up to most.
 *
 * `leaders` of `bauklens/show/figures.py` are the same.
 *
 * @returns `{ found, all }`: as pins, at most `most`, and how many lead in all.
 */
export function leaders(lens, column, most = MOST_LEADERS) {
  const weights = new Map();
  for (let row = 0; row < lens.rows; row += 1) {
    const cell = cellOf(lens, row, column);
    const token = tokenAt(lens, cell);
    weights.set(token, (weights.get(token) ?? 0) + probabilityAt(lens, cell));
  }
  const last = tokenAt(lens, cellOf(lens, lens.rows - 1, column));
  const others = [...weights.keys()].filter((token) => token !== last).reverse();
  others.sort((one, other) => weights.get(other) - weights.get(one));
  const kept = new Set([last, ...others.slice(0, most - 1)]);
  const tokens = [...weights.keys()].filter((token) => kept.has(token));
  const found = tokens.map((token, place) => leaderAt(lens, token, place));
  return { found, all: weights.size };
}

/** The same of a band: the tokens that are at the top at most of its positions in some layer. */
export function bandLeaders(lens, band, most) {
  const { tokens, all } = leadersOf(lens, band, most);
  return { found: tokens.map((token, place) => leaderAt(lens, token, place)), all };
}

const leaderAt = (lens, token, place) => ({ key: keyOf(lens, token), token, shape: SHAPES[place], colour: `var(--pin-${place})` });

/** The layer from which on a token leads at a column to the end; null where it does not lead at the end. */
export function leadsFrom(lens, token, column) {
  let first = null;
  for (let row = lens.rows - 1; row >= 0; row -= 1) {
    if (rankAt(lens, cellOf(lens, row, column), token) !== 1) break;
    first = row;
  }
  return first;
}
