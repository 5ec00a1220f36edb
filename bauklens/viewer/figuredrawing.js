// A drawing of boxes, words and paths at places in points, and the SVG of it. `show/figure_drawing.py` writes the same.

import { escaped } from "./picture.js";

export const MONO_WIDTH = 0.602; // the width of a character of DejaVu Sans Mono, over the font size
export const BASELINE = 0.36; // how far below the middle of a text its baseline is, over the font size

const FAMILIES = { mono: "'DejaVu Sans Mono', Menlo, Consolas, monospace", sans: "'DejaVu Sans', Verdana, sans-serif" };
const WIDE_CHARACTERS = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/gu;
const SANS_WIDTHS = [
  [WIDE_CHARACTERS, 1.2],
  [/[fijlrtI.,:;'|!()[\] ]/g, 0.37],
  [/[mwMW@%…]/g, 0.95],
  [/[A-HJ-LN-VX-Z]/g, 0.72],
];

export const boxed = (x, y, width, height, fill, stroke = "", thick = 0) => ({ kind: "box", x, y, width, height, fill, stroke, thick });

export const textPiece = (x, y, text, size, fill, more = {}) => ({ kind: "words", x, y, text, size, fill, anchor: "start", family: "sans", ...more });

export const lined = (points, stroke, thick, dash = []) => ({ kind: "path", points, stroke, thick, dash });

const ARMS = [[-1, 3], [1, 3], [1, 1], [3, 1], [3, -1], [1, -1], [1, -3], [-1, -3], [-1, -1], [-3, -1], [-3, 1], [-1, 1]];

/** One of the shapes of pins, as a filled path. */
export function shaped(name, x, y, radius, fill) {
  const ring = (count, turn, radii = [1]) =>
    Array.from({ length: count }, (_, place) => {
      const [angle, size] = [2 * Math.PI * (turn + place / count), radius * radii[place % radii.length]];
      return [x + size * Math.sin(angle), y - size * Math.cos(angle)];
    });
  const scale = radius / 3.6;
  const points = {
    plus: () => ARMS.map(([one, other]) => [x + (radius * one) / 3, y + (radius * other) / 3]),
    cross: () => ARMS.map(([one, other]) => [x + scale * (one - other), y + scale * (one + other)]),
    circle: () => ring(24, 0, [0.85]),
    triangle: () => ring(3, 0),
    wedge: () => ring(3, 0.5),
    square: () => ring(4, 0.125),
    diamond: () => ring(4, 0),
    star: () => ring(10, 0, [1.15, 0.5]),
  };
  return { kind: "path", points: points[name](), fill };
}

const countIn = (text, pattern) => text.match(pattern)?.length ?? 0;

/** How many characters wide a text is; those of Chinese and the like, and emoji, count twice. */
export const unitsOf = (text) => [...text].length + countIn(text, WIDE_CHARACTERS);

/** About how wide a text in DejaVu Sans is, over the font size. */
export function wideOf(text) {
  let [rest, whole] = [[...text].length, 0];
  for (const [pattern, width] of SANS_WIDTHS) {
    const count = countIn(text, pattern);
    rest -= count;
    whole += Number(width) * count;
  }
  return whole + 0.62 * rest;
}

/** A text cut to so many units, with a sign that there is more. */
export function cutToUnits(text, room) {
  if (unitsOf(text) <= room) return text;
  let [kept, used] = ["", 0];
  for (const each of text) {
    used += unitsOf(each);
    if (used > room - 1) break;
    kept += each;
  }
  return `${kept}…`;
}

/** A text in DejaVu Sans as lines no wider than `room`, the first than `first`, broken at spaces; a longer word is cut. */
export function brokenInto(text, room, first = null) {
  const lines = [];
  let line = "";
  for (const word of text.split(" ")) {
    const isNarrow = !lines.length && first !== null;
    let more = line ? `${line} ${word}` : shortenedWord(word, room);
    if (wideOf(more) > (isNarrow ? first : room) && (line || isNarrow)) {
      lines.push(line);
      more = shortenedWord(word, room);
    }
    line = more;
  }
  return [...lines, line];
}

function shortenedWord(word, room) {
  const characters = [...word];
  let [count, cut] = [Math.min(characters.length, Math.floor(room / 0.37) + 1), word];
  while (wideOf(cut) > room && count > 1) cut = `${characters.slice(0, (count -= 1)).join("")}…`;
  return cut;
}

/** A drawing `{ width, height, paper, pieces }` as SVG, whose units are points. */
export function svgOf({ width, height, paper, pieces }, title) {
  const size = `width="${rounded(width)}pt" height="${rounded(height)}pt" viewBox="0 0 ${rounded(width)} ${rounded(height)}"`;
  const start = `<svg xmlns="http://www.w3.org/2000/svg" ${size} xml:space="preserve">`;
  const drawn = [boxed(0, 0, width, height, paper), ...pieces].map((piece) => ELEMENTS[piece.kind](piece));
  return [start, `<title>${escaped(title)}</title>`, ...drawn, "</svg>\n"].join("\n");
}

const ELEMENTS = {
  box({ x, y, width, height, fill, stroke, thick }) {
    const edge = stroke ? ` stroke="${stroke}" stroke-width="${rounded(thick)}"` : "";
    return `<rect x="${rounded(x)}" y="${rounded(y)}" width="${rounded(width)}" height="${rounded(height)}" fill="${fill || "none"}"${edge}/>`;
  },
  words({ x, y, text, size, fill, anchor, family, bold, italic }) {
    const style = (bold ? ' font-weight="bold"' : "") + (italic ? ' font-style="italic"' : "");
    const font = `font-family="${FAMILIES[family]}" font-size="${rounded(size)}"${style}`;
    return `<text x="${rounded(x)}" y="${rounded(y)}" text-anchor="${anchor}" fill="${fill}" ${font}>${escaped(text)}</text>`;
  },
  path({ points, stroke, thick, dash, fill }) {
    const told = points.map((point) => point.map(rounded).join(",")).join(" ");
    if (fill) return `<polygon points="${told}" fill="${fill}"/>`;
    const strokes = dash.length ? ` stroke-dasharray="${dash.map(rounded).join(" ")}"` : "";
    return `<polyline points="${told}" fill="none" stroke="${stroke}" stroke-width="${rounded(thick)}"${strokes}/>`;
  },
};

/** At most two decimals. */
const rounded = (value) => String(Math.floor(100 * value + 0.5) / 100);
