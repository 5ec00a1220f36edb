// Charts of a publication figure: rank and probability by layer at one position. `show/figure_chart.py` has the same.

import { cellOf } from "./data.js";
import { FIGURE_SHAPES } from "./figurecolours.js";
import { BASELINE, MONO_WIDTH, cutToUnits, lined, shaped, unitsOf, textPiece } from "./figuredrawing.js";
import { figureNumber, figurePins } from "./figurevalues.js";
import { tickOf } from "./heads.js";
import { range } from "./numbers.js";
import { leaders } from "./pins.js";

const HEIGHT_OF_CHART = 13; // over the font size
const FIGURE_DASHES = [[], [4, 1.5], [1.2, 1.2], [6, 1.5, 1.2, 1.5]]; // over twice the thickness of a line
const TOPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]; // where an axis of probabilities can end
const LABEL = 0.82;

/** Draws the charts from a place on, with a legend if there are no pins; returns the y below them. */
export function drawCharts(drawing, lens, plan, colours, [x, top]) {
  const { font, chartColumn: column } = plan;
  const [width, size] = [plan.width - 2 * x, LABEL * font];
  const [lines, about] = chartLines(lens, plan, column);
  const heading = `${about} at position ${lens.positions[column]}, ${cutToUnits(tickOf(lens, column), 24)}`;
  drawing.pieces.push(textPiece(x, top + 0.75 * font + BASELINE * size, heading, size, colours.of("ink")));
  const y = top + 2 * font;
  const half = (width - 2 * font) / 2;
  const at = (values) => Array.from({ length: lens.rows }, (_, row) => values[cellOf(lens, row, column)]);
  const ranks = lines.map(({ rank }) => at(rank));
  const most = Math.max(10, range(ranks.flat())[1]);
  const decades = Math.max(1, Math.ceil(Math.log10(most) - 1e-9));
  const often = Math.ceil(decades / 4);
  const ticks = Array.from({ length: Math.floor(decades / often) + 1 }, (_, each) => [figureNumber(10 ** (each * often)), (each * often) / decades]);
  const placed = (values, place) => values.map((value) => (Number.isFinite(value) ? place(value) : null));
  const byRank = lines.map((pin, place) => [pin, placed(ranks[place], (value) => Math.log10(Math.max(value, 1)) / decades)]);
  const largest = Math.max(0, range(lines.flatMap((pin) => at(pin.probability)))[1]);
  const full = TOPS.find((top) => top >= Math.min(largest, 1));
  const quarters = [0, 1, 2, 3, 4].map((each) => [figureNumber((full * each) / 4), 1 - each / 4]);
  const byProbability = lines.map((pin) => [pin, placed(at(pin.probability), (value) => 1 - value / full)]);
  drawChart(drawing, lens, font, colours, [x, y, half], "rank (log)", ticks, byRank);
  drawChart(drawing, lens, font, colours, [x + half + 2 * font, y, half], "probability", quarters, byProbability);
  const below = y + (HEIGHT_OF_CHART + 2.6) * font;
  return plan.pins.length ? below : drawNames(drawing, plan, colours, lines, [x, below]);
}

function chartLines(lens, plan, column) {
  if (plan.pins.length) return [plan.pins, "The pins"];
  const { found, all } = leaders(lens, column);
  const some = found.length < all ? ` (${found.length} of ${all})` : "";
  return [figurePins(lens, found.map(({ token }) => token)), `What leads in some layer${some},`];
}

/** One chart: `ticks` and the values of `lines` are 0 at the top to 1. */
function drawChart(drawing, lens, font, colours, [x, above, width], name, ticks, lines) {
  const size = LABEL * font;
  const top = above + 1.4 * font;
  const left = x + (range(ticks.map(([text]) => unitsOf(text)))[1] * MONO_WIDTH + 0.7) * size;
  const [right, height] = [x + width, (HEIGHT_OF_CHART - 1.4) * font];
  const soft = colours.of("soft");
  drawing.pieces.push(textPiece(x, top - 1.1 * font + BASELINE * size, name, size, soft));
  for (const [text, part] of ticks) {
    const y = top + height * part;
    drawing.pieces.push(lined([[left, y], [right, y]], colours.of("line"), 0.07 * font));
    drawing.pieces.push(textPiece(left - 0.4 * size, y + BASELINE * size, text, size, soft, { anchor: "end", family: "mono" }));
  }
  const step = (right - left) / lens.rows;
  const longest = range(lens.layers.map(unitsOf))[1];
  const often = Math.max(1, Math.ceil(((longest + 1) * MONO_WIDTH * size) / step));
  for (let row = 0; row < lens.rows; row += often) {
    const y = top + height + 0.9 * font + BASELINE * size;
    drawing.pieces.push(textPiece(left + step * (row + 0.5), y, lens.layers[row], size, soft, { anchor: "middle", family: "mono" }));
  }
  drawing.pieces.push(textPiece((left + right) / 2, top + height + 2.1 * font + BASELINE * size, "layer", size, soft, { anchor: "middle" }));
  for (const [{ place }, values] of lines) {
    const [colour, thick] = [colours.pins[place], 0.16 * font];
    const dash = FIGURE_DASHES[place % FIGURE_DASHES.length].map((each) => each * 2 * thick);
    let points = [];
    [...values, null].forEach((value, row) => {
      if (value !== null) {
        points.push([left + step * (row + 0.5), top + height * value]);
        return;
      }
      if (points.length > 1) drawing.pieces.push(lined(points, colour, thick, dash));
      points.forEach((point) => drawing.pieces.push(shaped(FIGURE_SHAPES[place], ...point, 0.3 * font, colour)));
      points = [];
    });
  }
}

/** What the lines are, one after another; returns the y below. */
function drawNames(drawing, { font, width }, colours, lines, [left, top]) {
  const size = LABEL * font;
  let [x, y] = [left, top];
  for (const { place, text } of lines) {
    const name = cutToUnits(text, 24);
    const long = 1.1 * font + unitsOf(name) * MONO_WIDTH * size + 1.2 * font;
    if (x > left && x + long > width - left) [x, y] = [left, y + 1.5 * font];
    drawing.pieces.push(shaped(FIGURE_SHAPES[place], x + 0.4 * font, y + 0.75 * font, 0.36 * font, colours.pins[place]));
    drawing.pieces.push(textPiece(x + 1.1 * font, y + 0.75 * font + BASELINE * size, name, size, colours.of("soft"), { family: "mono" }));
    x += long;
  }
  return y + 1.5 * font;
}
