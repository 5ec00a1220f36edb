// A table that fills in while it is computed: first its headings, then its cells as they come.

import { make } from "./dom.js";

/** `element`, `begin()`, `prompt(tokens)`, `generated(tokens)`, `rows(table)`, `cells(cells)`. */
export function filling() {
  const table = make("table", { class: "lens" });
  const note = make("p", { class: "note" });
  const element = make("figure", { class: "bauklens filling" }, make("div", { class: "static" }, make("div", { class: "scroll" }, table)), note);
  let heads = [];
  let body = [];

  const heading = (token, position, isGenerated) => make("th", { scope: "col", class: isGenerated ? "generated" : null }, make("i", {}, String(position)), make("bdi", {}, token));

  function head(tokens, positions, generated) {
    const cells = tokens.map((token, place) => heading(token, positions[place], positions[place] >= generated));
    table.replaceChildren(make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "corner" }, "layer"), ...cells)));
  }

  return {
    element,
    begin() {
      [heads, body] = [[], []];
      table.replaceChildren();
      note.textContent = "";
    },
    prompt: (tokens) => (heads = tokens),
    generated(tokens) {
      const all = [...heads, ...tokens];
      const first = Math.max(0, all.length - 48);
      head(all.slice(first), all.slice(first).map((_, place) => first + place), heads.length);
    },
    rows({ layers, positions, tokens, generated, left_out }) {
      head(tokens, positions, generated);
      body = layers.map(() => positions.map(() => make("td", { class: "coming" })));
      const named = (layer) => make("th", { scope: "row" }, layer);
      table.append(make("tbody", {}, ...body.map((cells, row) => make("tr", {}, named(layers[row]), ...cells))));
      note.textContent = left_out ? `The last ${positions.length} positions fill in here; all ${positions.length + left_out} come at the end.` : "";
    },
    cells(cells) {
      for (const [row, column, token, share] of cells) {
        const cell = body[row]?.[column];
        if (!cell) continue;
        cell.classList.remove("coming");
        cell.style.setProperty("--p", String(share));
        cell.style.setProperty("--m", "0");
        cell.replaceChildren(make("bdi", {}, token));
      }
    },
  };
}
