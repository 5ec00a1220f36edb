// The lines, points, bars and shapes of a chart, as elements of SVG.

import { draw } from "./dom.js";

const APART = 10; // pixels between two shapes

/** A line in as many pieces as it has gaps, through some of its places; a point where it would be one place long. */
export function drawnLine({ values, colour, soft, dash }, places, x, y) {
  const pieces = [[]];
  for (const place of places) {
    if (Number.isFinite(values[place])) pieces.at(-1).push(`${x(place).toFixed(1)},${y(values[place]).toFixed(1)}`);
    else if (pieces.at(-1).length) pieces.push([]);
  }
  const style = { "--pin": colour, ...(dash ? { "stroke-dasharray": dash } : {}) };
  const kind = soft ? "line soft" : "line";
  const lines = pieces.filter((piece) => piece.length > 1).map((piece) => draw("polyline", { class: kind, points: piece.join(" "), style }));
  const alone = pieces.filter((piece) => piece.length === 1).map(([point]) => `M${point.replace(",", " ")}h0`);
  return alone.length ? [...lines, draw("path", { class: `${kind} points`, d: alone.join(""), style: { "--pin": colour } })] : lines;
}

/** Bars from 0, side by side at each place, coloured by the side that they are on. */
export function drawnBars(bars, { x, y, step }) {
  const wide = Math.max(1, Math.min(14, (step * 0.8) / Math.max(1, bars.length)));
  return bars.flatMap(({ values, colours, light }, which) =>
    [...values].flatMap((value, place) => {
      if (!Number.isFinite(value)) return [];
      const [top, bottom] = [Math.min(y(0), y(value)), Math.max(y(0), y(value))];
      const left = x(place) + wide * (which - bars.length / 2);
      const box = { x: left.toFixed(2), y: top.toFixed(2), width: (wide * 0.92).toFixed(2), height: Math.max(0.5, bottom - top).toFixed(2) };
      return [draw("rect", { class: light ? "stack light" : "stack", ...box, style: { "--pin": colours[value < 0 ? 1 : 0] } })];
    }),
  );
}

/** The shape of every line where it ends, higher or lower if another is there. */
export function endShapes(lines, x, y, [highest, lowest]) {
  const taken = [];
  const steps = Array.from({ length: 2 * lines.length }, (_, step) => (step % 2 ? 1 : -1) * Math.ceil(step / 2) * APART);
  return lines.flatMap(({ values, colour, shape, name }) => {
    const last = values.findLastIndex(Number.isFinite);
    if (last < 0) return [];
    const [left, end] = [x(last) + 5, y(values[last])];
    const isFree = (top) => top >= highest && top <= lowest && taken.every(([one, other]) => Math.abs(one - left) >= APART || Math.abs(other - top) >= APART);
    const top = steps.map((step) => end + step).find(isFree) ?? end;
    taken.push([left, top]);
    return [draw("text", { class: "shape", x: left, y: top + 3.5, style: { "--pin": colour } }, shape, draw("title", {}, name))];
  });
}
