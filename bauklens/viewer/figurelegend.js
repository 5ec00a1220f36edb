// The legend of a publication figure. `show/figure_legend.py` draws the same.

import { FIGURE_SHAPES } from "./figurecolours.js";
import { EDGE_WIDTH } from "./figurecells.js";
import { BASELINE, boxed, brokenInto, shaped, wideOf, textPiece } from "./figuredrawing.js";

const SIZE = 0.9; // of its texts, over the font size
const STRIP_STEPS = 24;

/** Draws a legend from a place on; returns the y below it. */
export function drawLegend(drawing, legend, colours, [left, top], font) {
  const em = SIZE * font;
  let [x, y] = [left, top];
  const text = (at, told) => drawing.pieces.push(textPiece(at, y + 0.75 * font + BASELINE * em, told, em, colours.of("soft")));
  const begin = (width) => {
    if (x > left && x + width > left + legend.width) [x, y] = [left, y + 1.5 * font];
    return x;
  };
  const flow = (from, told) => {
    const lines = brokenInto(told, legend.width / em, (left + legend.width - from) / em);
    lines.forEach((line, number) => {
      if (number) [from, y] = [left, y + 1.5 * font];
      if (line) text(from, line);
    });
    x = from + (wideOf(lines.at(-1)) + 1.6) * em;
  };
  const words = (told) => flow(begin(wideOf(told) * em), told);
  const strip = ({ ends: [low, high], about }) => {
    const length = 8 * font;
    const [before, after] = [(wideOf(low) + 0.5) * em, (wideOf(high) + 1) * em];
    const from = begin(before + length + after + wideOf(about) * em);
    text(from, low);
    const step = length / STRIP_STEPS;
    for (let place = 0; place < STRIP_STEPS; place += 1) {
      const fill = colours.background((place + 0.5) / STRIP_STEPS);
      drawing.pieces.push(boxed(from + before + step * place, y + 0.3 * font, step + 0.2, 0.9 * font, fill));
    }
    text(from + before + length + 0.5 * em, high);
    flow(from + before + length + 0.5 * em + after, about);
  };
  const bar = (about) => {
    const length = 3 * font;
    const from = begin(length + (wideOf(about) + 1) * em);
    drawing.pieces.push(boxed(from, y + 0.65 * font, length, 0.2 * font, colours.bar(colours.of("ink"))));
    flow(from + length + em, about);
  };
  const edge = (about) => {
    const from = begin((EDGE_WIDTH + 0.5) * font + wideOf(about) * em);
    drawing.pieces.push(boxed(from, y + 0.3 * font, EDGE_WIDTH * font, 0.9 * font, colours.of("ink")));
    flow(from + (EDGE_WIDTH + 0.5) * font, about);
  };
  const pin = ({ place, text: name }) => {
    const from = begin(1.1 * font + wideOf(name) * em);
    drawing.pieces.push(shaped(FIGURE_SHAPES[place], from + 0.4 * font, y + 0.75 * font, 0.4 * font, colours.pins[place]));
    flow(from + 1.1 * font, name);
  };

  const { scale, classic, pins, framed, generated, edited, notes } = legend;
  if (classic) words(`background: ${scale.barsAbout}; text colour: ${scale.about}, 0 to 1`);
  else {
    strip(scale);
    if (scale.bar) bar(scale.barsAbout);
  }
  pins.forEach(pin);
  if (framed) words(pins.length === 1 ? "framed: it leads" : "framed: the pin leads");
  if (generated) words("italic, after the line: generated");
  if (edited) edge(edited);
  notes.forEach(words);
  return y + 1.5 * font;
}
