// Which positions the strip shows: all of them, or a part of them around a place.

const FEWEST = 60; // positions that can be shown

/** All positions. */
export const wholeOf = (columns) => ({ from: 0, count: columns });

/** The part after zooming: a `factor` below 1 shows fewer positions; the one at `part`, 0..1, stays where it is. */
export function zoomed({ from, count }, columns, factor, part) {
  const wanted = Math.round(Math.max(Math.min(FEWEST, columns), Math.min(columns, count * factor)));
  return within({ from: from + part * (count - wanted), count: wanted }, columns);
}

/** The part moved so that the positions from `first` to `end` are in it, in its middle if they were not; itself if they are. */
export function following({ from, count }, columns, first, end) {
  if (first >= from && end <= from + count) return { from, count };
  return within({ from: (first + end - count) / 2, count }, columns);
}

const within = ({ from, count }, columns) => ({ from: Math.round(Math.max(0, Math.min(columns - count, from))), count });

/** Which positions are shown, and what is left out if more of them share a pixel. */
export function aboutPart({ from, count }, { columns, positions, rows }, pixels) {
  const shown = count < columns ? `Positions ${positions[from]} to ${positions[from + count - 1]}` : `All ${columns.toLocaleString("en")} positions`;
  const left = pixels < count ? `; a pixel shows the strongest of ${Math.ceil(count / pixels)} positions` : "";
  return `${shown} in ${rows} layers${left}`;
}
