// The edge of the first column, which can be dragged: all columns become as wide as that one.

import { make } from "./dom.js";
import { widen } from "./shortcuts.js";

/** `{ element, draw() }`, to stand beside a table. */
export function widening(view, table) {
  let [from, width] = [0, 0];
  const grip = (event) => {
    event.preventDefault();
    [from, width] = [event.clientX, view.state.width];
    element.setPointerCapture(event.pointerId);
  };
  const drag = (event) => {
    if (!element.hasPointerCapture(event.pointerId)) return;
    widen(view, Math.round(width + event.clientX - from) - view.state.width);
  };
  const title = "drag to change the column width (keyboard: + and -)";
  const element = make("div", { class: "edge", title, "aria-hidden": "true", onpointerdown: grip, onpointermove: drag });
  const draw = () => (element.style.left = `${table.firstEdge()}px`);
  return { element, draw };
}
