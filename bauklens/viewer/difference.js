// What differs between two lenses: in the table of the first, what both say in each cell.

import { apart } from "./apart.js";
import { textOf } from "./cells.js";
import { cellOf, isAbsent, keyOf, rowOf, tokenAt } from "./data.js";
import { aboutEdited, isEdited } from "./edited.js";
import { markOf, pinned } from "./pins.js";
import { aboutMarks } from "./rows.js";
import { aboutUnread, isUnread, worded } from "./words.js";

/** As `contentOf`, for two lenses. A row or column that only one of them has is hatched. */
export function difference(lenses, state) {
  const [one, other] = lenses;
  const pins = lenses.map((lens) => pinned(lens, state));
  const colours = apart(lenses, state);
  const only = (lens, row, column) => ({ text: textOf(lens, tokenAt(lens, cellOf(lens, row, column)), state), p: 0, m: 0, mark: null, none: true, edited: isEdited(lens, row, column) });
  const of = (row, column) => {
    const there = rowOf(other, one.layers[row]);
    if (there < 0 || isAbsent(other, column)) return only(one, row, column);
    if (isAbsent(one, column)) return only(other, there, column);
    const cells = [cellOf(one, row, column), cellOf(other, there, column)];
    const tops = lenses.map((lens, place) => tokenAt(lens, cells[place]));
    const keys = lenses.map((lens, place) => keyOf(lens, tops[place]));
    const marks = lenses.map((lens, place) => markOf(lens, pins[place], cells[place])).filter(Boolean);
    const mark = marks.sort((left, right) => left.rank - right.rank)[0] ?? null;
    const texts = lenses.map((lens, place) => textOf(lens, tops[place], state));
    const words = keys[0] === keys[1] ? texts[0] : texts.join(" | ");
    return { text: words, m: keys[0] === keys[1] ? 0 : 1, mark, unread: isUnread(lenses, column), edited: isEdited(one, row, column) || isEdited(other, there, column), ...colours.of(cells) };
  };
  const strength = (row, column) => {
    const there = rowOf(other, one.layers[row]);
    return there < 0 || isAbsent(other, column) || isAbsent(one, column) ? 0 : colours.of([cellOf(one, row, column), cellOf(other, there, column)]).p;
  };
  const rows = one.layers.some((layer) => rowOf(other, layer) < 0) ? [`hatched: ${other.name} has no such row`] : [];
  const columns = lenses.some(({ absent }) => absent?.size) ? ["hatched columns: positions that only one of the two has"] : [];
  const legend = [colours.about, worded(one, "bar: the top tokens differ"), ...rows, ...columns, ...aboutMarks(lenses), ...aboutUnread(lenses), ...aboutEdited(lenses)];
  return { of, strength, legend, scale: colours.scale };
}
