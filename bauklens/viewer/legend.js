// The legend of the charts: a line for each token, with its values at the place that is pointed at; a click pins it.

import { button, draw, make } from "./dom.js";
import { isPartOf, nameOver, tickOf } from "./heads.js";
import { calledIn, textAt } from "./drawing.js";
import { signed } from "./measured.js";
import { cutTo } from "./numbers.js";
import { worded } from "./words.js";

/** `{ element, draw(drawn, sum, at) }`; `at` is { layer, column } where something is pointed at. */
export function legend(view) {
  const place = make("p", { class: "at" });
  const list = make("ul", { class: "followed", "aria-label": "tokens in the charts" });
  const element = make("div", { class: "values" }, place, list);

  function redraw(drawn, sum, at = {}) {
    const { lens, row, column, entries } = drawn;
    const layer = at.layer ?? lens.layers[row];
    const there = at.column ?? null;
    const spot = layer === "embed" ? "embedding" : `layer ${layer}`;
    const whose = drawn.band && there === null ? drawn.band.name : spotOf(lens, there ?? column);
    place.replaceChildren(make("b", {}, calledIn(drawn)), ` at ${spot}, `, make("bdi", {}, whose));
    const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
    const columns = sum && there === null ? sumColumns(drawn, sum, layer) : variantColumns(drawn, layer, there);
    list.style.setProperty("--columns", columns.length);
    list.classList.toggle("many", columns.length > 3);
    const heads = columns.length > 1 ? [make("li", { class: "heads" }, make("span"), ...columns.map(({ head }) => head))] : [];
    const rows = entries.map((entry) => make("li", {}, nameOf(entry, lens), ...columns.map(({ text }) => make("output", {}, text(entry)))));
    list.replaceChildren(...heads, ...rows);
    if (focused >= 0) [...list.querySelectorAll("button")].at(Math.min(focused, list.querySelectorAll("button").length - 1))?.focus();
  }

  function nameOf(entry, lens) {
    if (entry.pair) {
      const parts = entry.pair.flatMap(({ shape, colour, name }, which) => [which ? " − " : "", shapeMark(shape, colour), " ", make("bdi", {}, name)]);
      return make("span", { class: "token" }, ...parts);
    }
    const isPinned = view.state.pins.includes(entry.key);
    const about = worded(lens, isPinned ? "unpin this token" : "pin this token to follow it");
    const each = button("", () => view.pin(entry.key), { class: "token", title: `${entry.name}: ${about}`, "aria-pressed": String(isPinned) });
    each.append(shapeMark(entry.shape, entry.colour), " ", make("bdi", {}, entry.name));
    return each;
  }
  return { element, draw: redraw };
}

const shapeMark = (shape, colour) => make("b", { style: { "--pin": colour } }, shape);

const spotOf = (lens, column) => `position ${lens.positions[column]} ${isPartOf(lens, column) ? nameOver(lens, column) : cutTo(tickOf(lens, column), 16)}`;

/** A column for each variant; at another position only the variants of the chosen one have a value. */
function variantColumns(drawn, layer, there) {
  const { variants } = drawn;
  const isOfPositions = new Set(variants.map(({ lens }) => lens)).size < variants.length;
  return variants.map((variant, place) => {
    const isMoved = there !== null && !(isOfPositions && place);
    const name = isMoved && isOfPositions ? `at ${variant.lens.positions[there]} ${variant.lens.tokens[there]}` : variant.name;
    return { head: variantHead(name, variant.dash), text: (entry) => textAt(drawn, entry, variant, layer, isMoved ? there : null) };
  });
}

/** What each part adds in a layer, and the sum up to it. */
function sumColumns({ lens }, { parts, sum }, layer) {
  const row = lens.layers.indexOf(layer);
  const swatch = (place) => draw("svg", { viewBox: "0 0 8 8", "aria-hidden": "true" }, draw("rect", { width: 8, height: 8, opacity: place ? 0.5 : 1 }));
  const added = parts.map(({ name, values }, place) => ({ head: make("span", { class: "bar" }, swatch(place), name), text: () => signed(values[row]) }));
  return [...added, { head: make("span", {}, "sum"), text: () => signed(sum[row]) }];
}

function variantHead(name, dash) {
  const line = draw("line", { class: "line", x1: 0, x2: 24, y1: 3, y2: 3, "stroke-dasharray": dash || null });
  return make("span", { title: name }, draw("svg", { viewBox: "0 0 24 6", "aria-hidden": "true" }, line), make("bdi", {}, cutTo(name, 12)));
}
