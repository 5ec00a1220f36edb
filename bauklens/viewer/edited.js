// Which cells show states that an edit changed, and what is said of them.

import { isAbsent } from "./data.js";
import { cutTo } from "./numbers.js";

const LONGEST_EDIT = 100; // characters of what was edited; a note below the table tells all of it
const EDITED_MARK = "▌"; // as the mark of an edited cell is seen

const isWithin = (runs, number) => runs.some(([first, last]) => first <= number && number <= last);

/** Whether an edit changed the state that a cell shows, at its layer and position. */
export const isEdited = (lens, row, column) =>
  Boolean(lens.edited?.cells.some(({ rows, positions }) => isWithin(rows, row) && isWithin(positions, lens.positions[column]))) && !isAbsent(lens, column);

/** What an edited cell's mark means in one lens. */
export const editedHere = (lens) => `edited here: ${cutTo(lens.edited.what, LONGEST_EDIT)}`;

/** What a legend says of a lens's edited cells; of two that are compared, in which they are. */
export function aboutEdited(lenses) {
  const edited = lenses.filter((lens) => lens.edited);
  if (!edited.length) return [];
  return [`${EDITED_MARK} ${lenses.length > 1 ? `edited here: in ${edited.map(({ name }) => name).join(" and ")}` : editedHere(edited[0])}`];
}

/** What is said of the place of a cell: nothing, "edited", or in which of the lenses that are shown there it is. */
export function editedThere(places, column) {
  const edited = places.filter(([lens, row]) => isEdited(lens, row, column)).map(([lens]) => lens.name);
  if (!edited.length) return "";
  return places.length > 1 ? `, edited in ${edited.join(" and ")}` : ", edited";
}
