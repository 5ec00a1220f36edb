// All notes, as a list below the table; each chooses its cell.

import { strided } from "./axes.js";
import { button, make } from "./dom.js";
import { atOrAfter, nameOver } from "./heads.js";
import { layerCalled } from "./words.js";

/** `{ element, draw() }`. */
export function noteList(view) {
  const list = make("ul");
  const element = make("section", { class: "notelist", "aria-label": "notes" }, make("p", { class: "title" }, "Notes"), list);
  let [drawn, entries] = [null, []];

  function draw() {
    const { notes, layer, position } = view.state;
    element.hidden = !notes.length;
    if (notes !== drawn) {
      entries = inReadingOrder(view.lenses, notes).map((note) => [note, entryOf(note)]);
      list.replaceChildren(...entries.map(([, entry]) => make("li", {}, entry)));
      drawn = notes;
    }
    for (const [note, entry] of entries) {
      if (note[0] === layer && note[1] === position) entry.setAttribute("aria-current", "true");
      else entry.removeAttribute("aria-current");
    }
  }

  function entryOf([layer, position, text]) {
    const lens = holding(view.lenses, layer, position);
    const column = lens.linked.indexOf(position);
    const at = `${layerCalled(lens, lens.layers.indexOf(layer))}, position ${lens.positions[column]}, ${atOrAfter(lens, column)} `;
    const entry = button("", () => go(layer, position));
    entry.append(make("small", {}, at, make("bdi", {}, nameOver(lens, column))), make("bdi", {}, text));
    return entry;
  }

  function go(layer, position) {
    const lens = holding(view.shown, layer, position) ?? holding(view.lenses, layer, position);
    const row = lens.layers.indexOf(layer);
    if (!strided(lens.rows, view.state.stride).includes(row)) view.change({ stride: 1 });
    view.choose(lens, row, lens.linked.indexOf(position), true);
    document.activeElement.scrollIntoView({ block: "nearest" });
  }
  return { element, draw };
}

const holding = (lenses, layer, position) => lenses.find((lens) => lens.layers.includes(layer) && lens.linked.includes(position));

/** By layer, and in a layer by position. */
function inReadingOrder(lenses, notes) {
  const placeOf = ([layer, position]) => {
    const lens = holding(lenses, layer, position);
    return [lens.layers.indexOf(layer), lens.linked.indexOf(position)];
  };
  const placed = notes.map((note) => [placeOf(note), note]);
  return placed.sort(([one], [other]) => one[0] - other[0] || one[1] - other[1]).map(([, note]) => note);
}
