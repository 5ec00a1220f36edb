// What stands in a cell: its text, its colour, and whether a pinned token is in it.

import { aboutAttention } from "./attention.js";
import { colouring } from "./colour.js";
import { cellOf, isAbsent, tokenAt } from "./data.js";
import { aboutEdited, isEdited } from "./edited.js";
import { cutTo } from "./numbers.js";
import { markOf, pinned } from "./pins.js";
import { aboutRows } from "./rows.js";
import { isLeftOut } from "./wordlike.js";
import { aboutUnread, isUnread } from "./words.js";

const LONGEST = 60; // characters of a token in a cell

/** As `contentOf`, for one lens. */
export function content(lens, state) {
  const [colours, pins] = [colouring(lens, state), pinned(lens, state)];
  const of = (row, column) => {
    const cell = cellOf(lens, row, column);
    const [p, m] = colours.at(cell);
    const text = textOf(lens, tokenAt(lens, cell), state);
    return { text, p: shortened(p || 0), m: shortened(m), mark: markOf(lens, pins, cell), none: Number.isNaN(p) || isAbsent(lens, column), unread: isUnread([lens], column), edited: isEdited(lens, row, column) };
  };
  const strength = (row, column) => colours.at(cellOf(lens, row, column))[0];
  return { of, strength, classic: colours.classic, legend: [...colours.legend, ...aboutRows(lens), ...aboutUnread([lens]), ...aboutEdited([lens]), ...aboutAttention(lens)] };
}

/** The text of a token in a cell. */
export function textOf(lens, token, state) {
  if ((state.hideBlank && !lens.texts[token].trim()) || isLeftOut(lens, token, state)) return "·";
  return cutTo(lens.shown[token], LONGEST);
}

/** Three decimals are enough for a colour. */
export const shortened = (value) => Number(value.toFixed(3));
