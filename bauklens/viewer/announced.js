// What a screen reader says of a cell: what is seen in it, its most probable token, how probable that is, a pin, and an edit.

import { cellOf, isAbsent, probabilityAt, rowOf, tokenAt } from "./data.js";
import { cutTo, probabilityText } from "./numbers.js";

const LONGEST_SAID = 60; // characters of a token

/** The name of a cell in one lens, or of what two lenses say there; `text`, `mark` and `edited` are as `contentOf` has them. */
export function announced(lenses, row, column, { text, mark, edited }) {
  const layer = lenses[0].layers[row];
  const cells = lenses.map((lens) => [lens, rowOf(lens, layer)]).filter(([lens, there]) => there >= 0 && !isAbsent(lens, column)).map(([lens, there]) => [lens, cellOf(lens, there, column)]);
  const tokens = [...new Set(cells.map(([lens, cell]) => cutTo(lens.shown[tokenAt(lens, cell)], LONGEST_SAID)))].join(" | ");
  const probabilities = cells.map(([lens, cell]) => probabilityText(probabilityAt(lens, cell))).join(" | ");
  return [text !== tokens && text, `${tokens}, ${probabilities}`, mark && `pinned ${mark.shape}`, edited && "edited"].filter(Boolean).join("; ");
}
