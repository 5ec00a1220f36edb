// A small map of one pinned token over the whole grid, a pixel or more a cell.

import { cellOf, followed } from "./data.js";
import { make } from "./dom.js";
import { pinned } from "./pins.js";

const MAP_SIDE = 300; // pixels along either side, unless there are more cells

/** `{ element, draw() }`; nothing is shown without a pin. */
export function heat(view) {
  const canvas = make("canvas", { class: "map", role: "img" });
  const caption = make("figcaption");
  const element = make("figure", { class: "heat" }, caption, canvas);
  let [drawnOf, painted] = [null, ""];

  function draw() {
    const { lens } = view.seen();
    const pin = pinned(lens, view.state).find(({ key }) => key === view.state.pin);
    element.hidden = !pin;
    if (!pin) return;
    caption.replaceChildren(make("b", { style: { color: pin.colour } }, pin.shape), ` ${lens.shown[pin.token]} in every cell: layers down, positions across; the stronger, the more probable`);
    canvas.setAttribute("aria-label", `where ${lens.shown[pin.token]} is probable: layers down, positions across`);
    const ink = getComputedStyle(caption.firstChild).color;
    const wanted = `${view.lenses.indexOf(lens)} ${pin.token} ${ink}`;
    if (painted === wanted) return;
    [drawnOf, painted] = [lens, wanted];
    const { probability } = followed(lens, pin.token);
    const size = Math.max(1, Math.floor(MAP_SIDE / lens.columns));
    const tall = Math.max(1, Math.min(6, Math.floor(MAP_SIDE / lens.rows)));
    [canvas.width, canvas.height] = [lens.columns * size, lens.rows * tall];
    const paint = canvas.getContext("2d");
    paint.fillStyle = ink;
    for (let row = 0; row < lens.rows; row += 1) {
      for (let column = 0; column < lens.columns; column += 1) {
        paint.globalAlpha = Math.sqrt(probability[cellOf(lens, row, column)] || 0); // so that small ones are seen too
        paint.fillRect(column * size, row * tall, size, tall);
      }
    }
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * drawnOf.rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * drawnOf.columns);
    view.choose(drawnOf, Math.min(row, drawnOf.rows - 1), Math.min(column, drawnOf.columns - 1));
  });
  return { element, draw };
}
