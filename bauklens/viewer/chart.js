// A chart, drawn by hand: lines or bars over one axis, with ticks and a grid; a place in it is pointed at, and chosen.

import { draw, make } from "./dom.js";
import { range } from "./numbers.js";
import { chartScale, drawnPlaces, tickPlaces } from "./chartscale.js";
import { drawnBars, drawnLine, endShapes } from "./strokes.js";

const [WIDTH, LEFT, RIGHT, TOP] = [340, 42, 20, 18];
const [HEIGHT, BOTTOM, LONG_TICKS] = [148, 30, 24]; // of the drawing, below it, and what texts that are turned need more
const FIT = 7; // ticks

/** Up to how many places are called by texts. */
export const TURNED = 22;

/**
 * A chart -> `{ element, picture, point(place), mark(places) }`; `mark` marks others instead.
 *
 * @param lines each has name, shape, colour, values, soft and dash: NaN leaves a gap
 * @param bars each has name, colours (above 0, and below), values and light; they are side by side
 * @param names what the places along the axis are called; `texts`, if given, say more of each
 * @param axis what the places are
 * @param what the measure, of which the axis is; `called` is its name
 * @param marked the places that are marked: the chosen one first
 * @param say place -> what is said there
 * @param point called with the place that is pointed at, or null
 * @param choose called with a place
 */
export function chart({ lines, bars = [], names, texts = null, axis, title, what, called, marked, say, point, choose }) {
  const isTurned = texts !== null && texts.length <= TURNED;
  const floor = TOP + HEIGHT;
  const whole = floor + BOTTOM + (isTurned ? LONG_TICKS : 0);
  const scale = chartScale(what, [...lines, ...bars].filter(({ values }) => values.some(Number.isFinite)).flatMap(({ values }) => range(values)));
  const step = (WIDTH - LEFT - RIGHT) / Math.max(1, bars.length ? names.length : names.length - 1);
  const x = (place) => LEFT + step * (place + (bars.length ? 0.5 : 0));
  const y = (value) => TOP + HEIGHT * (1 - scale.up(value));
  let chosen = marked[0];
  const slider = { role: "slider", tabindex: "0", "aria-label": title, "aria-valuemin": 0, "aria-valuemax": names.length - 1 };
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${whole}`, ...slider });
  for (const [value, text] of scale.ticks) {
    picture.append(
      draw("line", { class: scale.zero && value === 0 ? "rule zero" : "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      draw("text", { class: "tick", x: LEFT - 5, y: y(value) + 3.5, "text-anchor": "end" }, text),
    );
  }
  for (const place of isTurned ? names.keys() : tickPlaces(names, FIT)) {
    const at = isTurned ? { transform: `translate(${x(place) + 3} ${floor + 11}) rotate(-40)` } : { x: x(place), y: floor + 14 };
    picture.append(
      draw("line", { class: "rule", x1: x(place), x2: x(place), y1: floor, y2: floor + 3 }),
      draw("text", { class: "tick", "text-anchor": isTurned ? "end" : "middle", ...at }, isTurned ? texts[place] : names[place]),
    );
  }
  picture.append(
    draw("text", { class: "axis", x: LEFT - 36, y: 9 }, what === "rank" ? `${called} (log axis)` : called),
    draw("text", { class: "axis", x: WIDTH - RIGHT, y: whole - 4, "text-anchor": "end" }, axis),
  );
  const line = (kind, place) => draw("line", { class: kind, x1: x(place), x2: x(place), y1: TOP, y2: floor });
  const guide = line("guide", Math.max(0, chosen));
  picture.append(guide);
  picture.append(...drawnBars(bars, { x, y, step }));
  for (const each of lines) picture.append(...drawnLine(each, drawnPlaces(each.values), x, y));
  picture.append(...endShapes(lines, x, y, [TOP - 4, floor + 4]));

  let pointed = null;
  function mark(places) {
    chosen = places[0];
    picture.querySelectorAll("line.chosen").forEach((each) => each.remove());
    guide.before(...[...places.slice(1), ...(chosen < 0 ? [] : [chosen])].map((place) => line("chosen", place)));
    picture.setAttribute("aria-valuenow", Math.max(0, chosen));
    picture.setAttribute("aria-valuetext", say(Math.max(0, chosen)));
  }

  function tell(place) {
    pointed = place;
    const at = place ?? Math.max(0, chosen);
    for (const side of ["x1", "x2"]) guide.setAttribute(side, x(at));
    guide.classList.toggle("seen", place !== null);
    picture.setAttribute("aria-valuenow", at);
    picture.setAttribute("aria-valuetext", say(at));
    point(place);
  }
  const placeAt = (event) => {
    const box = picture.getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width) * WIDTH - x(0);
    return Math.max(0, Math.min(names.length - 1, Math.round(part / step)));
  };
  picture.addEventListener("pointermove", (event) => tell(placeAt(event)));
  picture.addEventListener("pointerleave", () => tell(null));
  picture.addEventListener("click", (event) => choose(placeAt(event)));
  picture.addEventListener("blur", () => pointed !== null && tell(null));
  picture.addEventListener("keydown", (event) => {
    const from = pointed ?? Math.max(0, chosen);
    const there = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, Home: 0, End: names.length - 1 }[event.key];
    if (there === undefined && event.key !== "Enter" && event.key !== " ") return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (there === undefined) choose(from);
    else tell(Math.max(0, Math.min(names.length - 1, there)));
  });
  mark(marked);
  const element = make("figure", { class: "chart" }, make("figcaption", {}, title), picture);
  return { element, picture, point: tell, mark };
}
