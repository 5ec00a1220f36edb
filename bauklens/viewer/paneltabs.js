// What the panel shows below the cell: charts, or the reader's lines of layers or of positions.

import { button, make } from "./dom.js";

const SHOWN_IN_PANEL = [
  ["charts", "Charts", "the pinned tokens through the layers and along the positions"],
  ["layers", "Every layer", "the top tokens at this position, at every layer"],
  ["positions", "Every position", "the top tokens at this layer, at every position"],
];

/** `{ element, draw() }`. */
export function panelTabs(view) {
  const tabs = SHOWN_IN_PANEL.map(([panel, text, title]) => button(text, () => view.change({ panel }), { title }));
  const group = make("div", { class: "views", role: "group", "aria-label": "what the panel shows" }, ...tabs);
  const element = make("div", { class: "paneltabs" }, group);

  function draw() {
    const { panel } = view.state;
    tabs.forEach((tab, place) => tab.setAttribute("aria-pressed", String(panel === SHOWN_IN_PANEL[place][0])));
  }
  return { element, draw };
}
