// A line chart, drawn by hand: several lines over one axis, the values under the pointer, a click to choose.

import { readOut } from "./charttable.js";
import { draw, make } from "./dom.js";
import { valueText } from "./numbers.js";

const FEW = 4; // lines of which a chart says also that a value is not known
const APART = 10; // pixels between two shapes

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [320, 132, 34, 18, 8, 20];

/** The place of a value up the chart, 0 (bottom) .. 1, on a scale of probabilities or of ranks (logarithmic, 1 on top). */
export function height(value, most, isRank) {
  return isRank ? 1 - Math.log(value) / Math.log(Math.max(2, most)) : value / (most || 1);
}

/**
 * A chart of `lines`, { name, whose, shape, colour, values, soft, dash }: NaN leaves a gap.
 *
 * @param names what the places along the axis are called
 * @param chosen the place that is marked
 * @param show value -> text
 * @param choose called with a place
 */
export function chart({ lines, names, title, chosen, isRank, show, choose }) {
  const every = lines.flatMap((line) => [...line.values].filter(Number.isFinite));
  const most = isRank ? Math.max(2, ...every) : nice(Math.max(0.01, ...every));
  const x = (place) => LEFT + ((WIDTH - LEFT - RIGHT) * place) / Math.max(1, names.length - 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - height(value, most, isRank));
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of isRank ? [1, most] : [0, most]) {
    picture.append(
      draw("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { class: "tick", x: LEFT - 4, y: y(value) + 3, "text-anchor": "end" }, isRank ? valueText(value) : String(value)),
    );
  }
  for (const place of [...new Set([0, names.length - 1])]) {
    const anchor = place ? "end" : "start";
    picture.append(draw("text", { class: "tick", x: x(place), y: HEIGHT - 4, "text-anchor": anchor }, names[place]));
  }
  const mark = (kind, place) => draw("line", { class: kind, x1: x(place), x2: x(place), y1: TOP, y2: HEIGHT - BOTTOM });
  const guide = mark("guide", chosen);
  picture.append(mark("chosen", chosen), guide);
  for (const line of lines) picture.append(...drawn(line, x, y));
  picture.append(...shapes(lines, x, y));
  const value = make("div", { class: lines.length > FEW ? "values many" : "values" });
  const whole = make("figure", { class: "chart" }, make("figcaption", {}, title), picture, value);
  readOut(whole, { lines, names, title, chosen, show });

  function tell(place) {
    guide.setAttribute("x1", x(place));
    guide.setAttribute("x2", x(place));
    const told = lines.length > FEW ? lines.filter((line) => Number.isFinite(line.values[place])) : lines;
    const values = told.map((line) => [line.shape, line.whose, show(line.values[place])].filter(Boolean).join(" "));
    value.textContent = `${names[place]}: ${values.join("  ")}`;
  }
  const placeAt = (event) => {
    const box = picture.getBoundingClientRect();
    const part = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    return Math.max(0, Math.min(names.length - 1, Math.round(part * (names.length - 1))));
  };
  picture.addEventListener("pointermove", (event) => tell(placeAt(event)));
  picture.addEventListener("pointerleave", () => tell(chosen));
  picture.addEventListener("click", (event) => choose(placeAt(event)));
  tell(chosen);
  return whole;
}

/** A line in as many pieces as it has gaps, and a point at every place where it is alone or there are few. */
function drawn({ values, colour, soft, dash }, x, y) {
  const pieces = [[]];
  [...values].forEach((value, place) => {
    if (Number.isFinite(value)) pieces.at(-1).push([x(place), y(value)]);
    else if (pieces.at(-1).length) pieces.push([]);
  });
  const style = { "--pin": colour, ...(dash ? { "stroke-dasharray": dash } : {}) };
  const kind = soft ? "line soft" : "line";
  const lines = pieces.filter((piece) => piece.length > 1).map((piece) => draw("polyline", { class: kind, points: piece.join(" "), style }));
  const alone = pieces.filter((piece) => piece.length === 1).map(([[left, top]]) => `M${left.toFixed(1)} ${top.toFixed(1)}h0`);
  return alone.length ? [...lines, draw("path", { class: `${kind} points`, d: alone.join(""), style: { "--pin": colour } })] : lines;
}

/** The shape of every line where it ends, higher or lower if another is there. */
function shapes(lines, x, y) {
  const taken = [];
  const steps = Array.from({ length: 2 * lines.length }, (_, step) => (step % 2 ? 1 : -1) * Math.ceil(step / 2) * APART);
  return lines.flatMap(({ values, colour, shape, name }) => {
    const last = [...values].findLastIndex(Number.isFinite);
    if (last < 0) return [];
    const [left, end] = [x(last) + 5, y(values[last])];
    const isFree = (top) => top >= 0 && top <= HEIGHT - BOTTOM + 4 && taken.every(([one, other]) => Math.abs(one - left) >= APART || Math.abs(other - top) >= APART);
    const top = steps.map((step) => end + step).find(isFree) ?? end;
    taken.push([left, top]);
    return [draw("text", { class: "shape", x: left, y: top + 3.5, style: { "--pin": colour } }, shape, draw("title", {}, name))];
  });
}

/** The next of 0.01, 0.02, 0.05, 0.1, ... 1. */
export function nice(value) {
  return [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((each) => each >= value - 1e-9) ?? 1;
}
