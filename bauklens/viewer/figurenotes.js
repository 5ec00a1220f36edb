// Notes on the cells of a publication figure: a number in the cell's corner, and a list below the caption. `show/figure_notes.py` draws the same.

import { BASELINE, boxed, brokenInto, MONO_WIDTH, textPiece } from "./figuredrawing.js";
import { nameOver } from "./heads.js";
import { layerCalled } from "./words.js";

const [NUMBER, TAB, HIGH] = [0.62, 0.3, 0.85]; // over the font size: of a number, the room beside it, the height of the corner
const NOTE_LINE = 1.4; // of the list, over the font size
const MARKS = { "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/** A text with a mark for each character that is not seen, but for spaces. */
export const spelledOut = (text) => text.replace(/(?! )[\p{C}\p{Z}]/gu, (unseen) => MARKS[unseen] ?? `⟨U+${unseen.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

/** The notes of a state that are on cells of a lens: { row, column, text }. */
export const notesOn = (lens, { notes }) =>
  notes.map(([layer, position, text]) => ({ row: lens.layers.indexOf(layer), column: lens.linked.indexOf(position), text })).filter(({ row, column }) => row >= 0 && column >= 0);

/** Of those the ones on cells that a figure shows, with `number`, in the order of its cells, and `told`. */
export function figureNotes(lens, notes, rows, columns) {
  const placed = notes.map((note) => [rows.indexOf(note.row), columns.indexOf(note.column), note]).filter(([row, column]) => row >= 0 && column >= 0);
  placed.sort(([row, column], [other, another]) => row - other || column - another);
  return placed.map(([, , note], place) => ({ ...note, number: place + 1, told: `${calledCell(lens, note)}: ${spelledOut(note.text)}` }));
}

const calledCell = (lens, { row, column }) => `${layerCalled(lens, row)}, position ${lens.positions[column]}, ${nameOver(lens, column)}`;

/** How much of a cell's width the number of its note takes. */
export const cornerWidth = (note, font) => (note ? (String(note.number).length * MONO_WIDTH * NUMBER + TAB) * font : 0);

/** Draws the number of a note into the upper right corner of a cell. */
export function drawCorner(drawing, note, colours, [x, y, width], font) {
  const tab = cornerWidth(note, font);
  drawing.pieces.push(boxed(x + width - tab, y, tab, HIGH * font, colours.of("ink")));
  const [middle, baseline] = [x + width - tab / 2, y + (HIGH * font) / 2 + BASELINE * NUMBER * font];
  drawing.pieces.push(textPiece(middle, baseline, String(note.number), NUMBER * font, colours.of("paper"), { anchor: "middle", family: "mono", bold: true }));
}

/** Draws the list of notes; returns the y below it. */
export function drawNotes(drawing, notes, colours, [x, top, width], font) {
  const side = (notes.reduce((most, { number }) => Math.max(most, String(number).length), 0) * MONO_WIDTH + 0.8) * font;
  let y = top;
  for (const { number, told } of notes) {
    const ink = colours.of("ink");
    drawing.pieces.push(textPiece(x + side - 0.6 * font, y + 0.75 * font + BASELINE * font, String(number), font, ink, { anchor: "end", family: "mono", bold: true }));
    for (const line of brokenInto(told, (width - side) / font)) {
      drawing.pieces.push(textPiece(x + side, y + 0.75 * font + BASELINE * font, line, font, ink));
      y += NOTE_LINE * font;
    }
  }
  return y;
}
