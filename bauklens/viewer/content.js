// What stands in the cells of a table: of one lens, or of what differs between two.

import { content } from "./cells.js";
import { difference } from "./difference.js";

/** `{ of(row, column) -> { text, p, m, mark, none, unread }, classic, legend }`. */
export const contentOf = (lenses, state) => (lenses.length > 1 ? difference(lenses, state) : content(lenses[0], state));
