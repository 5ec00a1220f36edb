// Which layers and positions stand where: every so many layers, either way up, along either side.

/** Places down and across -> rows and columns of the lens; `cell(down, across)` is [row, column]. */
export function axesOf(lens, state) {
  const layers = strided(lens.rows, state.stride);
  if (state.bottomUp) layers.reverse();
  const positions = Array.from({ length: lens.columns }, (_, column) => column);
  const across = state.layersAcross;
  const [down, side] = across ? [positions, layers] : [layers, positions];
  const name = { layer: (row) => lens.layers[row], position: (column) => lens.positions[column] };
  return {
    down,
    across: side,
    layersAcross: across,
    cell: (one, other) => (across ? [side[other], down[one]] : [down[one], side[other]]),
    names: across ? [name.position, name.layer] : [name.layer, name.position],
    place(row, column) {
      const [one, other] = across ? [column, row] : [row, column];
      return [nearest(down, one), nearest(side, other)];
    },
  };
}

/** 0 .. count - 1 in steps, with the last one always there. */
export function strided(count, stride) {
  const rows = [];
  for (let row = count - 1; row >= 0; row -= stride) rows.unshift(row);
  return rows;
}

function nearest(places, wanted) {
  let best = 0;
  places.forEach((each, place) => {
    if (Math.abs(each - wanted) < Math.abs(places[best] - wanted)) best = place;
  });
  return best;
}

/** The row and column of the chosen cell in a lens; its last ones where it has no such layer or position. */
export function chosenIn(lens, state) {
  const [row, column] = [lens.layers.indexOf(state.layer), lens.positions.indexOf(state.position)];
  return [row < 0 ? lens.rows - 1 : row, column < 0 ? lens.columns - 1 : column];
}
