// The ends of a colour scale, which a few odd cells do not decide.

import { range, valueText } from "./numbers.js";

const SAMPLE = 20_000; // values that a quantile is taken of
const FAR = 2; // how many times the 99th percentile the largest value is, if it does not decide

/**
 * The ends of a scale over the cells of a lens: `{ low, high, beyond: [text, ...] }`.
 *
 * The row "embed" and position 0 are often far beyond all else, and left out. If the largest value is more than twice
 * the 99th percentile, that is the end; the same below 0. What lies beyond is full, and `beyond` says so.
 * `scale_of` of `bauklens/show/scales.py` is the same.
 */
export function scaleOf(lens, values) {
  const rows = lens.layers[0] === "embed" && lens.rows > 1 ? 1 : 0;
  const columns = lens.positions[0] === 0 && lens.columns > 1 ? 1 : 0;
  const inside = new Float32Array((lens.rows - rows) * (lens.columns - columns));
  for (let row = rows, place = 0; row < lens.rows; row += 1) {
    for (let column = columns; column < lens.columns; column += 1, place += 1) inside[place] = values[row * lens.columns + column];
  }
  const [least, most] = range(inside);
  const [first, last] = quantiles(inside, [0.01, 0.99]);
  const high = most > FAR * last && last > 0 ? last : Math.max(0, most);
  const low = least < FAR * first && first < 0 ? first : Math.min(0, least);
  const embed = rows ? range(values.subarray(0, lens.columns))[1] : -Infinity;
  const start = columns ? range(values.filter((_, cell) => cell % lens.columns === 0 && cell >= rows * lens.columns))[1] : -Infinity;
  const told = [["embed", embed], ["position 0", start], ["a few cells", most]];
  return { low, high, beyond: told.filter(([, reached]) => reached > high).map(([name, reached]) => `${name} up to ${valueText(reached)}`) };
}

/** Some quantiles of the finite values; of many values, of a sample. */
function quantiles(values, parts) {
  const step = Math.max(1, Math.ceil(values.length / SAMPLE));
  const some = values.filter((value, place) => place % step === 0 && Number.isFinite(value)).sort();
  return parts.map((part) => (some.length ? some[Math.round(part * (some.length - 1))] : 0));
}
