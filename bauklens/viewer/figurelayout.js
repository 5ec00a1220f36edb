// A lens -> the drawing of a publication figure: the table, its legend, charts and a caption. `show/figure_layout.py` draws the same.

import { cellOf, tokenAt } from "./data.js";
import { editedHere, isEdited } from "./edited.js";
import { drawCharts } from "./figurechart.js";
import { drawCell, drawHead, GAP_BETWEEN, HEAD_HEIGHT, isGenerated, LEAST, PAD, ROW_HEIGHT } from "./figurecells.js";
import { figureColours } from "./figurecolours.js";
import { BASELINE, brokenInto, MONO_WIDTH, lined, svgOf, textPiece, unitsOf } from "./figuredrawing.js";
import { drawLegend } from "./figurelegend.js";
import { drawNotes } from "./figurenotes.js";
import { figurePins, figureScale } from "./figurevalues.js";
import { tickOf } from "./heads.js";
import { range } from "./numbers.js";

const MARGIN = 3; // points around the figure
const SMALL = 0.82; // a label, over the font size
const [LONGEST_COLUMN, SHORTEST_COLUMN] = [16, 5]; // characters

const labelOf = (lens, row) => (lens.unmapped.includes(lens.layers[row]) ? `${lens.layers[row]}*` : lens.layers[row]);

/** The width of the labels of rows. */
const sideOf = (lens, rows, font) => (range(rows.map((row) => unitsOf(labelOf(lens, row))))[1] * MONO_WIDTH * SMALL + 3 * PAD) * font;

/** How many columns a figure of such a width, in points, can show. */
export const roomForColumns = (lens, rows, width, font) =>
  Math.max(0, Math.floor((width - 2 * MARGIN - sideOf(lens, rows, font)) / ((SHORTEST_COLUMN * MONO_WIDTH * LEAST + 2 * PAD) * font)));

/**
 * The figure as SVG.
 *
 * @param options `{ rows, columns, pins, colour, charts, width, font, palette, theme, color, title, caption, notes, onCells, about }`: rows,
 *   columns and pins are places, the width is in millimetres, the font in points; `about` is the SVG's own title
 */
export function figureSvg(lens, options) {
  const colours = figureColours(options.palette, options.theme, options.color);
  const pins = figurePins(lens, options.pins);
  const classic = options.colour === "classic";
  const chartColumn = options.charts ? chartColumnOf(lens, options.columns) : null;
  const plan = { ...options, pins, classic, chartColumn, width: (options.width / 25.4) * 72, scale: figureScale(lens, options.colour, pins) };
  const { font, width } = plan;
  const drawing = { width, height: 0, paper: colours.of("paper"), pieces: [] };
  const room = width - 2 * MARGIN;
  let y = MARGIN;
  for (const line of plan.title ? brokenInto(plan.title, room / (1.3 * font)) : []) {
    drawing.pieces.push(textPiece(MARGIN, y + 0.85 * font + BASELINE * 1.15 * font, line, 1.15 * font, colours.of("ink"), { bold: true }));
    y += 1.7 * font;
  }
  y = drawTable(drawing, lens, plan, colours, y);
  const generated = plan.columns.some((column) => isGenerated(lens, column));
  const framed = pins.some((pin) => plan.rows.some((row) => plan.columns.some((column) => pin.best(cellOf(lens, row, column)) === 1)));
  const edited = plan.rows.some((row) => plan.columns.some((column) => isEdited(lens, row, column)));
  const legend = { scale: plan.scale, classic, pins, framed, generated, edited: edited ? editedHere(lens) : "", notes: plan.notes, width: room };
  y = drawLegend(drawing, legend, colours, [MARGIN, y + 0.7 * font], font);
  if (chartColumn !== null) y = drawCharts(drawing, lens, plan, colours, [MARGIN, y + 0.9 * font]);
  if (plan.caption) y += 0.7 * font;
  for (const line of plan.caption ? brokenInto(plan.caption, room / font) : []) {
    drawing.pieces.push(textPiece(MARGIN, y + 0.75 * font + BASELINE * font, line, font, colours.of("ink")));
    y += 1.4 * font;
  }
  if (plan.onCells.length) y = drawNotes(drawing, plan.onCells, colours, [MARGIN, y + 0.7 * font, room], font);
  drawing.height = y + MARGIN;
  return svgOf(drawing, plan.about);
}

/** The main position if it is shown, else the last that is. */
function chartColumnOf(lens, columns) {
  const main = lens.positions.indexOf(lens.mainPosition ?? lens.positions.at(-1));
  return columns.includes(main) ? main : columns.at(-1);
}

/** Draws the heads and the cells; returns the y below them. */
function drawTable(drawing, lens, plan, colours, top) {
  const { font, rows, columns } = plan;
  const texts = rows.flatMap((row) => columns.map((column) => lens.shown[tokenAt(lens, cellOf(lens, row, column))]));
  const longest = [...texts, ...columns.map((column) => tickOf(lens, column))].reduce((most, text) => Math.max(most, unitsOf(text)), 0);
  const widest = Math.min(LONGEST_COLUMN, longest + (plan.pins.length ? 2 : 0));
  const left = MARGIN + sideOf(lens, rows, font);
  const width = Math.min((plan.width - MARGIN - left) / columns.length, (Math.max(widest, SHORTEST_COLUMN) * MONO_WIDTH + 2 * PAD) * font);
  const body = top + HEAD_HEIGHT * font;
  columns.forEach((column, place) => drawHead(drawing, lens, font, colours, column, [left + width * place, top, width]));
  rows.forEach((row, place) => {
    const y = body + ROW_HEIGHT * font * place;
    const middle = y + (ROW_HEIGHT * font - GAP_BETWEEN) / 2 + BASELINE * SMALL * font;
    drawing.pieces.push(textPiece(left - PAD * font, middle, labelOf(lens, row), SMALL * font, colours.of("soft"), { anchor: "end", family: "mono" }));
    columns.forEach((column, across) => {
      drawCell(drawing, lens, plan, colours, [row, column], [left + width * across, y, width - GAP_BETWEEN, ROW_HEIGHT * font - GAP_BETWEEN]);
    });
  });
  const below = body + ROW_HEIGHT * font * rows.length;
  if (plan.classic) columns.forEach((column, place) => drawHead(drawing, lens, font, colours, column, [left + width * place, below, width])); // as on the page
  const bottom = below + (plan.classic ? HEAD_HEIGHT * font : 0);
  const first = columns.findIndex((column) => isGenerated(lens, column));
  const x = left + width * first - GAP_BETWEEN / 2;
  if (first >= 0) drawing.pieces.push(lined([[x, top], [x, bottom - GAP_BETWEEN]], colours.of("ink"), 0.15 * font));
  return bottom;
}
