// The heads and cells of a publication figure. `show/figure_layout.py` draws the same.

import { cellOf, tokenAt } from "./data.js";
import { isEdited } from "./edited.js";
import { FIGURE_SHAPES } from "./figurecolours.js";
import { BASELINE, boxed, MONO_WIDTH, cutToUnits, lined, shaped, textPiece, unitsOf } from "./figuredrawing.js";
import { cornerWidth, drawCorner } from "./figurenotes.js";
import { isPartOf, tickOf } from "./heads.js";
import { isUnread } from "./words.js";

export const [ROW_HEIGHT, HEAD_HEIGHT, GAP_BETWEEN] = [1.7, 2.8, 0.6]; // over the font size; points between cells
export const EDGE_WIDTH = 0.25; // of an edited cell's mark, over the font size
export const [PAD, LEAST] = [0.25, 0.72]; // over the font size: room beside a text; the smallest text

export const isGenerated = (lens, column) => lens.generatedFrom !== null && lens.positions[column] >= lens.generatedFrom;

/** The head of a column. */
export function drawHead(drawing, lens, font, colours, column, [x, y, width]) {
  const generated = isGenerated(lens, column);
  const kind = isUnread([lens], column) ? "unread" : generated ? "generated" : isPartOf(lens, column) ? "part" : "token";
  drawing.pieces.push(boxed(x, y, width - GAP_BETWEEN, HEAD_HEIGHT * font - GAP_BETWEEN, colours.of(kind)));
  const [middle, small] = [x + (width - GAP_BETWEEN) / 2, 0.75 * font];
  const centred = { anchor: "middle", family: "mono" };
  drawing.pieces.push(textPiece(middle, y + 0.75 * font + BASELINE * small, String(lens.positions[column]), small, colours.of("soft"), centred));
  const [text, size] = fitted(tickOf(lens, column), width - GAP_BETWEEN - 2 * PAD * font, font);
  drawing.pieces.push(textPiece(middle, y + 1.85 * font + BASELINE * size, text, size, colours.of("ink"), { ...centred, bold: true, italic: generated }));
}

/** A cell. */
export function drawCell(drawing, lens, { font, scale, classic, pins, onCells }, colours, [row, column], [x, y, whole, height]) {
  const [cell, unread] = [cellOf(lens, row, column), isUnread([lens], column)];
  const [part, share] = [scale.part(cell), scale.bar?.(cell) ?? 0];
  const none = Number.isNaN(part);
  const plain = none ? colours.of("paper") : colours.background(part, unread);
  const [fill, ink] = classic ? colours.classic(part, share, unread) : [plain, none ? colours.of("ink") : colours.text(part, plain, unread)];
  drawing.pieces.push(boxed(x, y, whole, height, fill));
  if (none) drawing.pieces.push(lined([[x, y + height], [x + whole, y]], colours.of("line"), 0.1 * font));
  if (share > 0 && !classic) drawing.pieces.push(boxed(x, y + height - 0.2 * font, share * whole, 0.2 * font, colours.bar(ink, unread)));
  const [mark, seen] = [markedBy(pins, cell), classic ? colours.inside() : colours];
  const [colour, edge] = [mark && seen.pins[mark.place], 0.14 * font];
  if (mark?.best(cell) === 1) drawing.pieces.push(boxed(x + edge / 2, y + edge / 2, whole - edge, height - edge, "", colour, edge));
  if (isEdited(lens, row, column)) drawing.pieces.push(boxed(x, y, EDGE_WIDTH * font, height, seen.of("ink")));
  const note = onCells.find((each) => each.row === row && each.column === column);
  if (note) drawCorner(drawing, note, seen, [x, y, whole], font);
  const width = whole - cornerWidth(note, font);
  const aside = mark ? 0.85 * font : 0;
  const [text, size] = fitted(lens.shown[tokenAt(lens, cell)], width - aside - 2 * PAD * font, font);
  const start = x + (width - aside - unitsOf(text) * MONO_WIDTH * size) / 2;
  const middle = y + height / 2;
  if (mark) {
    drawing.pieces.push(shaped("circle", start + 0.35 * font, middle, 0.5 * font, seen.of("paper")));
    drawing.pieces.push(shaped(FIGURE_SHAPES[mark.place], start + 0.35 * font, middle, 0.36 * font, colour));
  }
  drawing.pieces.push(textPiece(x + (width + aside) / 2, middle + BASELINE * size - 0.05 * font, text, size, ink, { anchor: "middle", family: "mono" }));
}

/** A text and its size, so that it fits into so many points: smaller, if need be, and then cut. */
function fitted(text, room, font) {
  const need = unitsOf(text) * MONO_WIDTH * font;
  if (need <= room) return [text, font];
  const size = Math.max(LEAST * font, (font * room) / need);
  return [cutToUnits(text, Math.max(1, Math.floor(room / (MONO_WIDTH * size) + 0.001))), size];
}

/** The pin that a cell shows: the best of those in its top k. */
function markedBy(pins, cell) {
  const found = pins.filter((pin) => pin.best(cell));
  return found.reduce((best, pin) => (best && best.best(cell) <= pin.best(cell) ? best : pin), null);
}
