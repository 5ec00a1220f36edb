// The cells of a table that have a note: a corner is marked, and a screen reader says the note. A folded band has the notes of its columns.

import { bandAt, bandOf } from "./bands.js";
import { cutTo } from "./numbers.js";

const LONGEST_HEARD = 120; // characters of a note

/** Marks the cells that are in the document; `elementAt(down, across)` is the element of a cell there. */
export function markNotes(lens, state, axes, canvas, elementAt) {
  for (const cell of canvas.querySelectorAll(".noted")) tell(cell, []);
  const found = new Map(); // cell -> its notes
  for (const [layer, position, text] of state.notes) {
    const [row, column] = [lens.layers.indexOf(layer), lens.linked.indexOf(position)];
    if (row < 0 || column < 0) continue;
    const place = axes.place(row, column);
    const [there, entry] = axes.cell(...place);
    const isFolded = entry < 0 && bandOf(lens, entry) === bandAt(lens, column);
    const cell = there === row && (entry === column || isFolded) && elementAt(...place); // its layer may be left out
    if (cell) found.set(cell, [...(found.get(cell) ?? []), isFolded ? `position ${lens.positions[column]}: ${text}` : text]);
  }
  for (const [cell, texts] of found) tell(cell, texts);
}

function tell(cell, texts) {
  const notes = texts.join("\n");
  cell.classList.toggle("noted", texts.length > 0);
  cell.title = [cell.hint, notes].filter(Boolean).join("\n");
  cell.setAttribute("aria-label", notes ? `${cell.said}; ${texts.length > 1 ? "notes" : "note"}: ${cutTo(notes, LONGEST_HEARD)}` : cell.said);
}
