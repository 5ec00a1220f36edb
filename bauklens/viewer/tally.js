// What is at the top at the positions of a band, and at how many of them.

import { columnsOf, countOf } from "./bands.js";
import { cellOf, keyOf, rowOf, tokenAt } from "./data.js";

const tallies = new WeakMap(); // lens -> row and band -> what `tally` returned

/** The top tokens of a row in a band, the one of most positions first: [token, count] each. */
export function tally(lens, row, band) {
  if (!tallies.has(lens)) tallies.set(lens, new Map());
  const known = tallies.get(lens);
  const name = `${row} ${band.first}`;
  if (!known.has(name)) known.set(name, counted(columnsOf(band).map((column) => tokenAt(lens, cellOf(lens, row, column)))));
  return known.get(name);
}

/** Things and how often each occurs, the most frequent first; of equals the one that comes first. */
export function counted(things) {
  const counts = new Map();
  for (const each of things) counts.set(each, (counts.get(each) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]);
}

/** At what part of the positions a token is at the top, 0..1. */
export const shareOf = (lens, row, band, token) => (tally(lens, row, band).find(([each]) => each === token)?.[1] ?? 0) / countOf(band);

/** `{ tokens, all }`: those at the top at most positions in some row, at most so many, and how many there are in all. */
export function leadersOf(lens, band, most) {
  const shares = new Map();
  for (let row = 0; row < lens.rows; row += 1) {
    for (const [token, count] of tally(lens, row, band)) shares.set(token, Math.max(count, shares.get(token) ?? 0));
  }
  const tokens = [...shares].sort((one, other) => other[1] - one[1]).map(([token]) => token);
  return { tokens: tokens.slice(0, most), all: tokens.length };
}

/** What is at the top of a row in one lens or in two, as `tally` has it: [column where it is, count] each. */
export function tops(lenses, row, band) {
  const places = lenses.map((lens) => [lens, rowOf(lens, lenses[0].layers[row])]).filter(([, there]) => there >= 0);
  const firsts = new Map();
  const keys = columnsOf(band).map((column) => {
    const key = JSON.stringify(places.map(([lens, there]) => keyOf(lens, tokenAt(lens, cellOf(lens, there, column)))));
    if (!firsts.has(key)) firsts.set(key, column);
    return key;
  });
  return counted(keys).map(([key, count]) => [firsts.get(key), count]);
}
