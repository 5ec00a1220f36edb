// Which layers and positions stand where: every so many layers, either way up, along either side.

import { columnOf, entries, isHidden } from "./bands.js";
import { isAbsent } from "./data.js";

/**
 * Places down and across -> rows and columns of the lens; `cell(down, across)` is [row, column], or of a band of columns
 * [row, its place], see `entries`.
 *
 * @param positions the places along the axis of positions
 */
export function axesOf(lens, state, positions = entries(lens, state)) {
  const layers = strided(lens.rows, state.stride);
  if (state.bottomUp) layers.reverse();
  const across = state.layersAcross;
  const [down, side] = across ? [positions, layers] : [layers, positions];
  return {
    down,
    across: side,
    layersAcross: across,
    cell: (one, other) => (across ? [side[other], down[one]] : [down[one], side[other]]),
    place(row, column) {
      const [layer, position] = [nearest(layers, row), positionPlace(lens, positions, column)];
      return across ? [position, layer] : [layer, position];
    },
  };
}

/** 0 .. count - 1 in steps, with the last one always there. */
export function strided(count, stride) {
  const rows = [];
  for (let row = count - 1; row >= 0; row -= stride) rows.unshift(row);
  return rows;
}

/** Every column, none of them folded. */
export const everyColumn = (lens) => Array.from({ length: lens.columns }, (_, column) => column);

/** The place of a column or a band among those shown: itself, or what it is folded into. */
function positionPlace(lens, positions, wanted) {
  const place = positions.indexOf(wanted);
  if (place >= 0) return place;
  return Math.max(0, positions.findLastIndex((each) => columnOf(lens, each) <= columnOf(lens, wanted)));
}

function nearest(places, wanted) {
  let best = 0;
  places.forEach((each, place) => {
    if (Math.abs(each - wanted) < Math.abs(places[best] - wanted)) best = place;
  });
  return best;
}

/** The row and column of the chosen cell in a lens; its first row or last column where it has no such place. */
export function chosenIn(lens, state) {
  const column = lens.linked.indexOf(state.position);
  const isHere = column >= 0 && !isHidden(lens, state, column);
  return [Math.max(0, lens.layers.indexOf(state.layer)), isHere ? column : lastOf(lens)];
}

/** The last column of a lens that it has itself. */
const lastOf = (lens) => Array.from({ length: lens.columns }, (_, column) => column).findLast((column) => !isAbsent(lens, column));

/** Whether a lens has the chosen cell itself. */
export const holds = (lens, state) => lens.layers.includes(state.layer) && lens.linked.includes(state.position);

/** The state with its chosen layer among those of a lens that are shown, the nearest where it is not. */
export function settled(lens, state) {
  const rows = strided(lens.rows, state.stride);
  const [row, column] = chosenIn(lens, state);
  return { ...state, layer: lens.layers[rows[nearest(rows, row)]], position: lens.linked[column] };
}
