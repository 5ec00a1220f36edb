// The tables as they are printed: whole, and continued below if there are more columns than a page is wide.

import { around } from "./around.js";
import { axesOf, chosenIn } from "./axes.js";
import { bandCell, bandHead } from "./bandcells.js";
import { entryIn } from "./bands.js";
import { contentOf } from "./content.js";
import { make } from "./dom.js";
import { cellElement, layerHead, positionHead } from "./heads.js";

const PAGE = 760; // pixels of the screen's columns that a page has room for
const MOST_PRINTED = 20_000; // cells

/** Fills `element` when the page is about to be printed, and empties it afterwards; `panes()` are the lenses of each table. */
export function printed(view, element, panes) {
  addEventListener("beforeprint", () => element.isConnected && element.replaceChildren(...panes().flatMap((lenses) => tablesOf(view.state, lenses))));
  addEventListener("afterprint", () => element.replaceChildren());
}

function tablesOf(state, lenses) {
  const [lens] = lenses;
  const [axes, content] = [axesOf(lens, state), contentOf(lenses, state)];
  const [row, column] = chosenIn(lens, state);
  const [, across] = axes.place(row, entryIn(lens, state, column));
  const [first, end] = around(across, axes.across.length, Math.max(1, Math.floor(MOST_PRINTED / axes.down.length)));
  const left = axes.across.length - (end - first);
  const name = lenses.length > 1 ? lenses.map((each) => each.name).join(" | ") : lens.caption;
  const caption = make("p", { class: "caption" }, name, left > 0 && `. ${left.toLocaleString("en")} columns are not printed`);
  const parts = Math.ceil((end - first) / Math.max(3, Math.floor(PAGE / state.width)));
  const size = Math.ceil((end - first) / parts);
  const tables = Array.from({ length: parts }, (_, part) => tableOf(first + part * size, Math.min(end, first + (part + 1) * size)));
  return [caption, ...tables, make("p", { class: "legend" }, ...content.legend.map((text) => make("span", {}, text)))];

  function tableOf(from, to) {
    const places = Array.from({ length: to - from }, (_, each) => from + each);
    const corner = make("th", { class: "corner" }, axes.layersAcross ? "position" : "layer");
    const heads = make("tr", {}, corner, ...places.map((place) => head("columnheader", place, 1)));
    const rows = axes.down.map((_, down) => make("tr", {}, head("rowheader", down, 0), ...places.map((place) => cell(down, place))));
    return make("table", { class: content.classic ? "lens classic" : "lens" }, make("thead", {}, heads), make("tbody", {}, ...rows));
  }

  function head(role, place, which) {
    const number = (which ? axes.across : axes.down)[place];
    if (Boolean(which) === axes.layersAcross) return as("th", layerHead(role, lenses, number));
    return as("th", number < 0 ? bandHead(role, lens, state, number) : positionHead(role, lenses, number));
  }

  function cell(down, place) {
    const there = axes.cell(down, place);
    if (there[1] < 0) return as("td", bandCell(lenses, state, ...there, content));
    const each = cellElement(lenses, ...there, content.of(...there));
    each.classList.toggle("chosen", there[0] === row && there[1] === column);
    return as("td", each);
  }
}

/** What an element of the table on the screen shows, as an element of another name. */
function as(name, element) {
  const made = make(name, { class: element.className, style: {}, "data-pin": element.dataset.pin }, ...element.childNodes);
  made.style.cssText = element.style.cssText;
  return made;
}
