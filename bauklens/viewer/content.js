// What stands in the cells of a table: of one lens, or of what differs between two.

import { content } from "./cells.js";
import { difference } from "./difference.js";

const contents = new WeakMap(); // state -> the lenses and what was returned, for each table that was asked for

/**
 * `{ of(row, column) -> { text, p, m, mark, none, unread, edited }, strength(row, column), classic, legend }`.
 *
 * `strength` is the p of a cell, without the rest. The same state has the same content.
 */
export function contentOf(lenses, state) {
  if (!contents.has(state)) contents.set(state, []);
  const found = contents.get(state).find((each) => each.lenses.length === lenses.length && each.lenses.every((lens, place) => lens === lenses[place]));
  if (found) return found.content;
  const made = lenses.length > 1 ? difference(lenses, state) : content(lenses[0], state);
  contents.get(state).push({ lenses, content: made });
  return made;
}
