// How wide a column of the table is, in pixels.

import { cellOf, tokenAt } from "./data.js";
import { range } from "./numbers.js";
import { isOfLabels } from "./words.js";

/** What a person can choose, at least and at most. */
export const WIDTHS = [44, 260];

/** Of tokens, unasked. */
export const USUAL = 76;

const OF_PAIRS = 108;
const BESIDE = 50; // eight columns in each of two tables on a page of 1,400 pixels
const MOST_OF_LABELS = 200;
const [CHARACTER, AROUND] = [7.25, 28]; // a character, and a pin with the edges

/** The width unasked: two tokens in a cell need more of it, tables side by side have less, and a classifier's labels need what they are long. */
export function usualWidth(lenses, isPair) {
  const least = isPair ? OF_PAIRS : lenses.length > 1 ? BESIDE : USUAL;
  if (!lenses.every(isOfLabels)) return least;
  const longest = lenses.map(longestOnTop);
  const count = isPair ? longest[0] + longest[1] + 3 : range(longest)[1];
  return Math.min(MOST_OF_LABELS, Math.max(least, 4 * Math.ceil((CHARACTER * count + AROUND) / 4)));
}

/** Characters of the longest text that is the most probable one somewhere. */
function longestOnTop(lens) {
  const cells = Array.from({ length: cellOf(lens, lens.rows, 0) }, (_, cell) => tokenAt(lens, cell));
  return range([...new Set(cells)].map((token) => [...lens.shown[token]].length))[1];
}
