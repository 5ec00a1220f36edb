// The tables that are shown: one, two side by side, or what differs between two; they scroll together.

import { contentOf } from "./cells.js";
import { make } from "./dom.js";
import { grid } from "./grid.js";
import { widening } from "./widening.js";

/** Whether cells stand elsewhere than before. */
const changesPlaces = (state, before) => ["stride", "width", "bottomUp", "layersAcross"].some((name) => state[name] !== before[name]);

/** `{ element, draw(before, moved), reveal(focused), scroll() }`. */
export function stage(view) {
  const element = make("div", { class: "stage" });
  let panes = []; // { table, legend, edge }

  function draw(before, moved) {
    const isNew = view.state.show !== before?.show;
    if (isNew) build();
    for (const { table, legend, edge } of panes) {
      if (moved) {
        table.look();
        continue;
      }
      table.draw();
      edge.draw();
      legend.replaceChildren(...contentOf(table.lenses, view.state).legend.map((text) => make("span", {}, text)));
      if (isNew || changesPlaces(view.state, before)) table.reveal(false);
    }
  }

  function build() {
    const { lenses, shown, state } = view;
    panes = (state.show === "difference" ? [lenses] : shown.map((lens) => [lens])).map((some) => {
      const table = grid(view, some);
      return { table, legend: make("p", { class: "legend" }), edge: widening(view, table) };
    });
    element.replaceChildren(...panes.map(paneOf));
    const scrolls = panes.map(({ table }) => table.element);
    for (const one of scrolls) {
      one.addEventListener("scroll", () => {
        for (const other of scrolls) if (other !== one) [other.scrollTop, other.scrollLeft] = [one.scrollTop, one.scrollLeft];
      });
    }
  }

  function paneOf({ table, legend, edge }) {
    const [lens, other] = table.lenses;
    const rounded = lens.rounded ? ". Its numbers are rounded to about four digits, so that the page stays small" : "";
    const said = other ? `${lens.name} | ${other.name}` : `${lens.caption}${rounded}`;
    const caption = make("p", { class: "caption" }, said);
    return make("div", { class: "pane" }, caption, make("div", { class: "frame" }, table.element, edge.element), legend);
  }

  new ResizeObserver(() => panes.forEach(({ table }) => table.look())).observe(element);
  return {
    element,
    draw,
    reveal: (focused) => panes.forEach(({ table }) => table.reveal(table.lenses[0] === focused)),
    scroll: () => panes[0].table.element,
  };
}
