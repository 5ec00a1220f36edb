// A small map of one pinned token over the whole grid, a pixel or more a cell.

import { axesOf, chosenIn, everyColumn } from "./axes.js";
import { cellOf } from "./data.js";
import { make } from "./dom.js";
import { followed } from "./follow.js";
import { pinned } from "./pins.js";

const MAP_SIDE = 300; // pixels along either side, unless there are more cells

/** `{ element, draw() }`; nothing is shown without a pin. */
export function heat(view) {
  const canvas = make("canvas", { role: "img" });
  const here = make("span", { class: "here" });
  const map = make("div", { class: "map" }, canvas, here);
  const caption = make("figcaption");
  const element = make("figure", { class: "heat" }, caption, map);
  let [drawnOf, axes, painted] = [null, null, ""];

  function draw() {
    const { lens } = view.seen();
    const pin = pinned(lens, view.state).find(({ key }) => key === view.state.pin);
    element.hidden = !pin;
    if (!pin) return;
    drawnOf = lens;
    axes = axesOf(lens, { ...view.state, stride: 1 }, everyColumn(lens));
    const sides = axes.layersAcross ? "positions down, layers across" : "layers down, positions across";
    caption.replaceChildren(make("b", { style: { color: pin.colour } }, pin.shape), ` ${lens.shown[pin.token]} in every cell: ${sides}; a stronger colour means more probable`);
    canvas.setAttribute("aria-label", `where ${lens.shown[pin.token]} is probable: ${sides}`);
    paint(lens, pin, getComputedStyle(caption.firstChild).color);
    mark(...axes.place(...chosenIn(lens, view.state)));
  }

  function paint(lens, pin, ink) {
    const wanted = [view.lenses.indexOf(lens), pin.token, ink, axes.layersAcross, view.state.bottomUp].join(" ");
    if (painted === wanted) return;
    painted = wanted;
    const { probability } = followed(lens, pin.token);
    const [down, across] = [axes.down.length, axes.across.length];
    const wide = Math.max(1, Math.floor(MAP_SIDE / across));
    const tall = Math.max(1, Math.min(6, Math.floor(MAP_SIDE / down)));
    [canvas.width, canvas.height] = [across * wide, down * tall];
    const brush = canvas.getContext("2d");
    brush.fillStyle = ink;
    for (let one = 0; one < down; one += 1) {
      for (let other = 0; other < across; other += 1) {
        brush.globalAlpha = Math.sqrt(probability[cellOf(lens, ...axes.cell(one, other))] || 0); // so that small ones are seen too
        brush.fillRect(other * wide, one * tall, wide, tall);
      }
    }
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
