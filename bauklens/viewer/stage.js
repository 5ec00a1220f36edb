// The tables that are shown: one, two side by side, or what differs between two; they scroll together.

import { holds } from "./axes.js";
import { aboutBands } from "./bandcells.js";
import { contentOf } from "./content.js";
import { rowOf } from "./data.js";
import { make } from "./dom.js";
import { grid } from "./grid.js";
import { range } from "./numbers.js";
import { widening } from "./widening.js";

/** Whether cells stand elsewhere than before. */
const changesPlaces = (state, before) => ["stride", "bottomUp", "layersAcross", "open"].some((name) => state[name] !== before[name]);

/** Whether a table is so little wider than its box that it is read from its start. */
const isNearlySeen = ({ scrollWidth, clientWidth }) => scrollWidth <= 2 * clientWidth;

/** The last layer that all lenses have, which has a row or column of its own however many layers are left out. */
const lastShared = (lenses) => lenses[0].layers.filter((each) => lenses.every((lens) => rowOf(lens, each) >= 0)).at(-1);

/** `{ element, draw(before, moved), reveal(focused), lenses(), seen() }`. */
export function stage(view) {
  const element = make("div", { class: "stage" });
  let panes = []; // { table, caption, legend, edge }
  const follows = new Set(); // tables that were scrolled by another

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
      legend.replaceChildren(...explained(table.lenses));
      if (isNew || changesPlaces(view.state, before)) show(table, false);
      if (!before && !view.isPlaced && panes.length === 1 && isNearlySeen(table.element)) table.element.scrollLeft = 0;
    }
    if (!moved) align();
  }

  /** The same layers stand beside each other, if one table has more rows above them; below each other, tables need not. */
  function align() {
    const isBeside = new Set([...element.children].map((pane) => /** @type {HTMLElement} */ (pane).offsetTop)).size === 1;
    const shared = lastShared(panes.map(({ table }) => table.lenses[0]));
    const tops = panes.map(({ table }) => (shared === undefined || !isBeside ? 0 : table.startOf(shared)[1]));
    const lowest = range(tops)[1];
    panes.forEach(({ table }, place) => table.element.parentElement.style.setProperty("--lead", `${lowest - tops[place]}px`));
  }

  function build() {
    const { pair, shown } = view;
    panes = (pair ? [pair] : shown.map((lens) => [lens])).map((some) => {
      const table = grid(view, some);
      return { table, caption: captionOf(some), legend: make("p", { class: "legend" }), edge: widening(view, table) };
    });
    element.classList.toggle("several", panes.length > 1);
    element.replaceChildren(...panes.map(paneOf));
    for (const { table, edge } of panes) {
      table.element.addEventListener("scroll", () => {
        edge.draw();
        if (!follows.delete(table)) panes.forEach((pane) => follow(table, pane.table));
      });
    }
  }

  /** Scrolls one table as another was, so that the same layers stand beside each other. */
  function follow(one, other) {
    if (one === other) return;
    const layer = lastShared([one.lenses[0], other.lenses[0]]);
    const [[left], [otherLeft]] = [one.startOf(layer), other.startOf(layer)];
    const before = [other.element.scrollLeft, other.element.scrollTop];
    other.element.scrollLeft = one.element.scrollLeft + otherLeft - left;
    other.element.scrollTop = one.element.scrollTop; // the same layers are beside each other, see align()
    const after = [other.element.scrollLeft, other.element.scrollTop];
    if (String(before) !== String(after)) follows.add(other); // its own event is not to be followed
  }

  /** Brings the chosen cell into sight, where a table has it; others follow as it scrolls. */
  function show(table, isFocused) {
    if (isFocused || panes.length === 1 || holds(table.lenses[0], view.state)) table.reveal(isFocused);
    else table.look();
  }

  const legendOf = (some) => [...contentOf(some, view.state).legend, ...aboutBands(some)];

  /** The legend as elements, of two lenses with the colours that the first text explains. */
  function explained(some) {
    const colours = (contentOf(some, view.state).scale ?? []).map(({ p, side }) => make("s", { class: side, style: { "--p": p, "--m": 0 } }));
    const scale = colours.length ? make("span", { class: "scale", "aria-hidden": "true" }, ...colours) : null;
    return legendOf(some).map((text, place) => make("span", {}, place ? null : scale, text));
  }

  function captionOf([lens, other]) {
    const rounded = lens.rounded ? `. Numbers are rounded to about ${lens.rounded} digits to keep the page small` : "";
    return other ? `${lens.name} ↔ ${other.name}` : `${lens.caption}${rounded}`;
  }

  function paneOf({ table, caption, legend, edge }) {
    return make("div", { class: "pane" }, make("p", { class: "caption" }, caption), make("div", { class: "frame" }, table.element, edge.element), legend);
  }

  const paneSeen = ({ table, caption }) => ({
    scroll: table.element,
    caption,
    get legend() {
      return legendOf(table.lenses);
    },
  });

  new ResizeObserver(() => {
    align();
    panes.forEach(({ table }) => table.look());
  }).observe(element);
  return {
    element,
    draw,
    reveal: (focused) => panes.forEach(({ table }) => show(table, table.lenses[0] === focused)),
    lenses: () => panes.map(({ table }) => table.lenses),
    seen: () => panes.map(paneSeen),
  };
}
