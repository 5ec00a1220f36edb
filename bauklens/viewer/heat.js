// A small map of one pinned token over the whole grid, a pixel or more a cell.

import { axesOf, chosenIn, everyColumn } from "./axes.js";
import { cellOf } from "./data.js";
import { make } from "./dom.js";
import { followed, sourceOf } from "./follow.js";
import { isWord, measureOf } from "./measured.js";
import { range } from "./numbers.js";
import { pinned } from "./pins.js";
import { MOST_PIXELS, paintPixels } from "./pixels.js";

const MAP_SIDE = 300; // pixels along either side, unless there are more cells
const TALLEST_CELL = 6; // pixels

/** Whether a map is of ranks, as the charts are; of a word, which has none, and of what is known in the top k only, it is not. */
const showsRanks = (lens, state, token) => measureOf(lens, state) === "rank" && !isWord(lens, token) && sourceOf(lens, token) !== "top";

/** `{ element, draw() }`; nothing is shown without a pin. */
export function heat(view) {
  const canvas = make("canvas", { role: "img" });
  const here = make("span", { class: "here" });
  const map = make("div", { class: "map" }, canvas, here);
  const caption = make("figcaption");
  const element = make("figure", { class: "heat" }, caption, map);
  let [drawnOf, axes, placed, painted] = [null, null, "", ""];

  function draw() {
    const { lens } = view.seen();
    const pin = pinned(lens, view.state).find(({ key }) => key === view.state.pin);
    element.hidden = !pin;
    if (!pin) return;
    const { bottomUp, layersAcross, theme, pins } = view.state;
    const sides = JSON.stringify([view.lenses.indexOf(lens), bottomUp, layersAcross]);
    if (placed !== sides) axes = axesOf(lens, { ...view.state, stride: 1 }, everyColumn(lens));
    const ofRanks = showsRanks(lens, view.state, pin.token);
    const wanted = JSON.stringify([sides, pin.token, pins.indexOf(pin.key), theme, ofRanks]);
    if (painted !== wanted) paint(lens, pin, ofRanks);
    [drawnOf, placed, painted] = [lens, sides, wanted];
    mark(...axes.place(...chosenIn(lens, view.state)));
  }

  function paint(lens, pin, ofRanks) {
    const sides = axes.layersAcross ? "positions down, layers across" : "layers down, positions across";
    const about = ofRanks ? "closer to rank 1 (logarithmic)" : "more probable";
    caption.replaceChildren(make("b", { style: { color: pin.colour } }, pin.shape), ` ${lens.shown[pin.token]} in every cell: ${sides}; a stronger colour means ${about}`);
    canvas.setAttribute("aria-label", `map of ${lens.shown[pin.token]}: ${sides}; stronger means ${about}`);
    const { probability, rank } = followed(lens, pin.token);
    const last = Math.log(Math.max(2, range(rank)[1]));
    const value = ofRanks ? (cell) => 1 - Math.log(rank[cell]) / last : (cell) => Math.sqrt(probability[cell]); // so that small ones are seen too
    const count = [axes.across.length, axes.down.length];
    const size = count.map((cells) => Math.min(MOST_PIXELS, cells));
    const strength = (down, across) => value(cellOf(lens, ...axes.cell(down, across))) || 0;
    paintPixels(canvas, size, count, getComputedStyle(caption.firstElementChild).color, strength);
    const [wide, tall] = size.map((pixels) => pixels * Math.max(1, Math.floor(MAP_SIDE / pixels)));
    canvas.style.aspectRatio = `${wide} / ${Math.min(tall, TALLEST_CELL * size[1])}`;
  }

  /** Frames the chosen cell. */
  function mark(down, across) {
    const percent = (place, of) => `${(100 * place) / of}%`;
    const [tall, wide] = [axes.down.length, axes.across.length];
    Object.assign(here.style, { top: percent(down, tall), left: percent(across, wide), height: percent(1, tall), width: percent(1, wide) });
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (part, count) => Math.min(count - 1, Math.floor(part * count));
    const down = place((event.clientY - box.top) / box.height, axes.down.length);
    const across = place((event.clientX - box.left) / box.width, axes.across.length);
    view.choose(drawnOf, ...axes.cell(down, across));
  });
  return { element, draw };
}
