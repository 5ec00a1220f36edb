// A table that fills in while it is computed: its headings first, then its cells as they come, and new columns on the right.

import { make } from "./dom.js";

const MOST = 48; // the columns that are shown: the last ones

/** `element`, `begin()`, `prompt(tokens)`, `generated(told)`, `rows(table)`, `cells(cells)`. */
export function filling() {
  const table = make("table", { class: "lens" });
  const note = make("p", { class: "note" });
  const scroller = make("div", { class: "scroll" }, table);
  const element = make("figure", { class: "bauklens filling" }, make("div", { class: "static" }, scroller), note);
  let heads = []; // one per position
  let begins = 0; // the first generated position
  let layers = [];
  let columns = new Map(); // position -> its cells, one per layer
  let coming = []; // the positions that the next cells are of
  let reached = -1; // the last position that has cells
  let [isFollowed, scrolled] = [true, 0]; // and how far it was scrolled by us
  scroller.addEventListener("scroll", () => (isFollowed = scroller.scrollLeft >= Math.min(scrolled, scroller.scrollWidth - scroller.clientWidth) - 2));

  const heading = (position) => make("th", { scope: "col", class: position >= begins ? "generated" : null }, make("i", {}, String(position)), make("bdi", {}, heads[position]));
  const cell = (position, row) => columns.get(position)?.[row] ?? make("td", { class: "coming" });

  /** Keeps the last columns in view, until the reader scrolls back; in a narrow window, the last ones that have cells. */
  function toEnd() {
    if (!isFollowed) return;
    const [corner, ...columnHeads] = table.rows[0]?.cells ?? [];
    const filled = reached < 0 ? undefined : columnHeads[reached - 1 - Math.max(0, heads.length - MOST)];
    scroller.scrollLeft = filled ? Math.min(scroller.scrollWidth, filled.offsetLeft - corner.offsetWidth) : scroller.scrollWidth;
    scrolled = scroller.scrollLeft;
  }

  function draw() {
    const positions = heads.map((_, position) => position).slice(-MOST);
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "corner" }, "layer"), ...positions.map(heading)));
    const row = (layer, place) => make("tr", {}, make("th", { scope: "row" }, layer), ...positions.map((each) => cell(each, place)));
    table.replaceChildren(head, make("tbody", {}, ...layers.map(row)));
    toEnd();
    note.textContent = heads.length > MOST ? `The last ${MOST} positions fill in here; all ${heads.length} come at the end.` : "";
  }

  function begin(tokens = []) {
    [heads, begins, layers, coming] = [[...tokens], tokens.length, [], []];
    columns = new Map();
    [isFollowed, scrolled, reached] = [true, 0, -1];
    note.textContent = "";
  }

  return {
    element,
    begin() {
      begin();
      table.replaceChildren();
    },
    prompt: begin,
    generated({ tokens, kept }) {
      for (const each of [...columns.keys()]) if (each >= begins + kept) columns.delete(each); // of tokens that a search has given up
      heads = [...heads.slice(0, begins), ...tokens];
      draw();
    },
    rows(told) {
      if (String(told.layers) !== String(layers)) columns = new Map();
      [layers, begins, coming] = [told.layers, told.generated, told.positions];
      told.positions.forEach((position, place) => {
        heads[position] = told.tokens[place];
        if (!columns.has(position)) columns.set(position, layers.map(() => make("td", { class: "coming" })));
      });
      draw();
    },
    cells(cells) {
      for (const [row, column, token, share] of cells) {
        const found = columns.get(coming[column])?.[row];
        if (!found) continue;
        reached = Math.max(reached, coming[column]);
        found.classList.remove("coming");
        found.style.setProperty("--p", String(share));
        found.style.setProperty("--m", "0");
        found.replaceChildren(make("bdi", {}, token));
      }
      toEnd();
    },
  };
}
