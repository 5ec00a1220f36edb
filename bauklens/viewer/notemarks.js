// The cells of a table that have a note: a corner is marked, and a screen reader says the note.

import { cutTo } from "./numbers.js";

const LONGEST_HEARD = 120; // characters of a note

/** Marks the cells that are in the document; `elementAt(down, across)` is the element of a cell there. */
export function markNotes(lens, state, axes, canvas, elementAt) {
  for (const cell of canvas.querySelectorAll(".noted")) tell(cell, "");
  for (const [layer, position, text] of state.notes) {
    const there = [lens.layers.indexOf(layer), lens.linked.indexOf(position)];
    if (there.includes(-1)) continue;
    const place = axes.place(...there);
    const cell = String(axes.cell(...place)) === String(there) && elementAt(...place); // it may be in a folded band or a layer left out
    if (cell) tell(cell, text);
  }
}

function tell(cell, text) {
  cell.classList.toggle("noted", Boolean(text));
  cell.title = text;
  cell.setAttribute("aria-label", text ? `${cell.said}; note: ${cutTo(text, LONGEST_HEARD)}` : cell.said);
}
