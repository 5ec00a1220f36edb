// The table of one lens, or of what differs between two: a grid of which only what is in sight is in the document.

import { axesOf, chosenIn, holds } from "./axes.js";
import { bandCell, bandHead } from "./bandcells.js";
import { entryIn } from "./bands.js";
import { contentOf } from "./content.js";
import { make } from "./dom.js";
import { gridEvents } from "./gridevents.js";
import { cellElement, layerHead, positionHead } from "./heads.js";
import { moved } from "./keys.js";
import { markNotes } from "./notemarks.js";
import { built, inSight } from "./window.js";

const [ROW, HEAD, SIDE] = [22, 40, { layer: 56, position: 132 }]; // pixels

/** `{ element, lenses, draw(), look(), reveal(focus), firstEdge() }`. */
export function grid(view, lenses) {
  const [lens] = lenses;
  const canvas = make("div", { class: "canvas", role: "presentation" });
  const element = make("div", { class: "scroll", role: "grid", "aria-label": lens.caption }, canvas);
  const elements = built();
  let [axes, content, width, side, foot] = [null, null, 0, 0, 0];

  /** Builds all anew. */
  function draw() {
    const { state } = view;
    const part = element.scrollLeft / (width || 1);
    [axes, content] = [axesOf(lens, state), contentOf(lenses, state)];
    side = SIDE[axes.layersAcross ? "position" : "layer"];
    const isWidened = width !== state.width;
    width = state.width;
    canvas.style.width = `${side + width * axes.across.length}px`;
    foot = content.classic ? HEAD : 0;
    canvas.style.height = `${HEAD + ROW * axes.down.length + foot}px`;
    element.setAttribute("aria-rowcount", axes.down.length + 1);
    element.setAttribute("aria-colcount", axes.across.length + 1);
    element.classList.toggle("classic", Boolean(content.classic));
    const focused = canvas.contains(document.activeElement);
    canvas.replaceChildren();
    elements.clear();
    if (isWidened) element.scrollLeft = part * width;
    look();
    if (focused) chosen().focus({ preventScroll: true });
  }

  const places = () => {
    const [row, column] = chosenIn(lens, view.state);
    return axes.place(row, entryIn(lens, view.state, column));
  };
  const chosen = () => elements.get(places().join(" "));

  /** Builds what has come into sight, takes away what has left it, and marks the chosen cell. */
  function look() {
    const [down, across] = places();
    const downs = inSight(element.scrollTop, element.clientHeight - HEAD - foot, ROW, axes.down.length, down);
    const acrosses = inSight(element.scrollLeft, element.clientWidth - side, width, axes.across.length, across);
    for (const one of [-1, ...downs, ...(foot ? [axes.down.length] : [])]) {
      const row = elements.keep(`${one}`, canvas, one, () => rowElement(one));
      for (const other of acrosses) elements.keep(`${one} ${other}`, row, other, () => placed(one, other));
    }
    elements.sweep();
    markNotes(lens, view.state, axes, canvas, (one, other) => elements.get(`${one} ${other}`));
    for (const each of canvas.querySelectorAll("[tabindex='0']")) mark(each, false, false);
    mark(chosen(), true, holds(lens, view.state));
  }

  /** The one cell that the Tab key comes to is the chosen one, or stands for it. */
  function mark(cell, isReached, isChosen) {
    cell.tabIndex = isReached ? 0 : -1;
    cell.classList.toggle("chosen", isChosen);
    if (isChosen) cell.setAttribute("aria-selected", "true");
    else cell.removeAttribute("aria-selected");
  }

  const isHeads = (down) => down < 0 || down === axes.down.length; // the classic look has them below as well
  function rowElement(down) {
    const named = axes.layersAcross ? "position" : "layer";
    const first = isHeads(down) ? make("div", { class: "corner", role: "columnheader" }, named) : head("rowheader", down, 0);
    first.style.width = `${side}px`;
    if (down < 0) return make("div", { class: "row heads", role: "row", "aria-rowindex": 1 }, first);
    if (isHeads(down)) return make("div", { class: "row heads foot", "aria-hidden": "true", style: { "margin-top": `${ROW * down}px` } }, first);
    return make("div", { class: "row", role: "row", "aria-rowindex": down + 2, style: { top: `${HEAD + ROW * down}px` } }, first);
  }

  function placed(down, across) {
    const each = isHeads(down) ? head("columnheader", across, 1) : cell(down, across);
    each.style.left = `${side + width * across}px`;
    each.style.width = `${width}px`;
    each.setAttribute("aria-colindex", across + 2);
    return each;
  }

  function head(role, place, which) {
    const number = (which ? axes.across : axes.down)[place];
    const isLayer = Boolean(which) === axes.layersAcross;
    if (isLayer) return layerHead(role, lenses, number);
    return number < 0 ? bandHead(role, lens, view.state, number) : positionHead(role, lenses, number);
  }

  function cell(down, across) {
    const place = axes.cell(down, across);
    if (place[1] < 0) return bandCell(lenses, view.state, ...place, content);
    return cellElement(lenses, ...place, content.of(...place));
  }

  /** Scrolls to the chosen cell. */
  function reveal(focus) {
    const [top, left] = [ROW * places()[0], width * places()[1]];
    element.scrollTop = between(element.scrollTop, top + ROW - (element.clientHeight - HEAD - foot), top);
    element.scrollLeft = between(element.scrollLeft, left + width - (element.clientWidth - side), left);
    look();
    if (focus) chosen().focus({ preventScroll: true });
  }

  gridEvents(view, lens, { element, look, going: (event) => moved(event, axes, places(), element.clientHeight / ROW - 3), cell: (there) => axes.cell(...there) });
  /** Where a layer begins, from the left and from the top, in pixels. */
  const startOf = (layer) => {
    const place = axes.place(lens.layers.indexOf(layer), 0);
    return axes.layersAcross ? [width * place[1], 0] : [0, ROW * place[0]];
  };
  const firstEdge = () => side + width - (element.scrollLeft % width);
  return { element, lenses, draw, look, reveal, startOf, firstEdge };
}

const between = (value, low, high) => Math.min(high, Math.max(low, value));
