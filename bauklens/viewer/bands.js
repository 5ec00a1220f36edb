// The columns of one picture as a band, which can be folded into one: which there are, and which are open.

import { isAbsent } from "./data.js";

const OPEN_UNASKED = 6; // columns up to which a band is open unasked

/** Among the places along an axis a column is its number, and a band a negative one. */
const entryOf = (number) => -1 - number;

/** The band that a place along an axis is; null for a column. */
export const bandOf = (lens, entry) => (entry < 0 ? lens.bands[-1 - entry] : null);

/** The first column of a place along an axis. */
export const columnOf = (lens, entry) => (entry < 0 ? bandOf(lens, entry).first : entry);

/** The band that a column is in; null if it is in none. */
export const bandAt = (lens, column) => lens.bands.find(({ first, last }) => first <= column && column <= last) ?? null;

/** What names a band in a state: the position of its first column. */
export const idOf = (lens, band) => lens.linked[band.first];

export const isOpen = (lens, state, band) => state.open.includes(idOf(lens, band));

export const countOf = ({ first, last }) => last - first + 1;

/** Whether a column is left out, as only the other of two lenses has it and neither stands beside the other. */
export const isHidden = (lens, { show }, column) => isAbsent(lens, column) && /^\d+$/.test(show);

/** The columns of a band. */
export const columnsOf = (band) => Array.from({ length: countOf(band) }, (_, place) => band.first + place);

/** Places along the axis of positions: columns, each band before its own, and these only if it is open. */
export function entries(lens, state) {
  const places = [];
  let number = 0;
  for (let column = 0; column < lens.columns; column += 1) {
    if (isHidden(lens, state, column)) continue;
    const band = lens.bands[number];
    if (column === band?.first) {
      places.push(entryOf(number));
      number += 1;
      if (!isOpen(lens, state, band)) {
        column = band.last;
        continue;
      }
    }
    places.push(column);
  }
  return places;
}

/** The place of the chosen position: of its band, if that is chosen as a whole. */
export function entryIn(lens, state, column) {
  const band = bandAt(lens, column);
  return band && (state.band || !isOpen(lens, state, band)) ? entryOf(lens.bands.indexOf(band)) : column;
}

/** What a state becomes if a place along the axis of positions is chosen: a column in a folded band opens it. */
export function chosenEntry(lens, state, entry) {
  const [column, whole] = [columnOf(lens, entry), bandOf(lens, entry)];
  const band = whole ?? bandAt(lens, column);
  const opens = band && !whole && !isOpen(lens, state, band);
  return {
    position: lens.linked[column],
    band: Boolean(whole),
    ...(band ? { picture: band.picture } : {}),
    ...(opens ? { open: Object.freeze([...state.open, idOf(lens, band)]) } : {}),
  };
}

/** What a state becomes if a band is opened or folded; it is chosen then. */
export function foldedOrOpened(lens, state, band) {
  const id = idOf(lens, band);
  const open = isOpen(lens, state, band) ? state.open.filter((each) => each !== id) : [...state.open, id];
  return { open: Object.freeze(open), ...chosenEntry(lens, state, entryOf(lens.bands.indexOf(band))) };
}

/** All bands of some lenses, by what names them; of a few columns only, if that is asked for. */
export function idsOf(lenses, most = Infinity) {
  return Object.freeze([...new Set(lenses.flatMap((lens) => lens.bands.filter((band) => countOf(band) <= most).map((band) => idOf(lens, band))))]);
}

/** The bands that are open unasked, and that of a position. */
export function openAtFirst(lenses, position, isWhole) {
  const holding = lenses.flatMap((lens) => {
    const band = bandAt(lens, lens.linked.indexOf(position));
    return band && !isWhole ? [idOf(lens, band)] : [];
  });
  return Object.freeze([...new Set([...idsOf(lenses, OPEN_UNASKED), ...holding])]);
}
