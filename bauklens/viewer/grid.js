// The table of one lens, or of what differs between two: a grid of which only what is in sight is in the document.

import { axesOf, chosenIn, holds } from "./axes.js";
import { entryIn } from "./bands.js";
import { contentOf } from "./content.js";
import { make } from "./dom.js";
import { gridEvents } from "./gridevents.js";
import { gridParts, HEAD, markCell, ROW } from "./gridparts.js";
import { showCell } from "./heads.js";
import { moved } from "./keys.js";
import { markNotes } from "./notemarks.js";
import { shadeHeads } from "./shading.js";
import { BEYOND, built, inSight } from "./window.js";

const SIDE = { layer: 56, position: 132 }; // pixels
const MOST_NEW = 200; // cells up to which those beyond the ones in sight are built at once
const PLACING = ["stride", "bottomUp", "layersAcross", "open", "show", "width"]; // what of a state decides what is where

/** `{ element, lenses, draw(), look(), reveal(focus), startOf(layer), firstEdge() }`. */
export function grid(view, lenses) {
  const [lens] = lenses;
  const canvas = make("div", { class: "canvas", role: "presentation" });
  const element = make("div", { class: "scroll", role: "grid", "aria-label": lens.caption }, canvas);
  const elements = built(); // by place: "down" of a row, "down across" of a cell
  let [axes, content, parts, width, side, foot] = [null, null, null, 0, 0, 0];
  let [placing, filled, waiting] = ["", "", 0]; // as what it was drawn, with which places, and the next frame

  /** Builds all anew, or if every cell stays where it is, has each show what it shows now. */
  function draw() {
    const { state } = view;
    content = contentOf(lenses, state);
    const wanted = JSON.stringify([...PLACING.map((name) => state[name]), Boolean(content.classic)]);
    if (placing === wanted && !lens.bands.length) {
      parts = gridParts(view, lenses, { axes, content, side, width });
      for (const each of elements.values()) if (each.place) showCell(each, lenses, content.of(...each.place));
      look();
      return;
    }
    const isFirst = !placing;
    placing = wanted;
    const part = element.scrollLeft / (width || 1);
    axes = axesOf(lens, state);
    side = SIDE[axes.layersAcross ? "position" : "layer"];
    const isWidened = width !== state.width;
    width = state.width;
    canvas.style.width = `${side + width * axes.across.length}px`;
    foot = content.classic ? HEAD : 0;
    parts = gridParts(view, lenses, { axes, content, side, width });
    canvas.style.height = `${HEAD + ROW * axes.down.length + foot}px`;
    for (const [name, { length }] of [["row", axes.down], ["col", axes.across]]) element.setAttribute(`aria-${name}count`, length + 1);
    element.classList.toggle("classic", Boolean(content.classic));
    const focused = canvas.contains(document.activeElement);
    canvas.replaceChildren();
    elements.clear();
    filled = "";
    if (isFirst && holds(lens, state)) toChosen(); // so that cells elsewhere are not built first
    else if (isWidened) element.scrollLeft = part * width;
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
    const seen = [element.scrollTop, element.clientHeight - HEAD - foot, element.scrollLeft, element.clientWidth - side];
    const within = (beyond) => [inSight(seen[0], seen[1], ROW, axes.down.length, down, beyond), inSight(seen[2], seen[3], width, axes.across.length, across, beyond)];
    fill(within(0), within(BEYOND));
    markNotes(lens, view.state, axes, canvas, (one, other) => elements.get(`${one} ${other}`));
    shadeHeads(lenses, view.state, canvas);
    for (const each of canvas.querySelectorAll("[tabindex='0']")) markCell(each, false, false);
    markCell(chosen(), true, holds(lens, view.state));
  }

  /** Builds the places near by, and those beyond; if that is very much, what lies beyond is built in the next frame. */
  function fill(near, whole) {
    const wanted = JSON.stringify(whole);
    if (filled === wanted) return;
    const rowsOf = ([downs]) => [-1, ...downs, ...(foot ? [axes.down.length] : [])];
    const keysOf = (some) => rowsOf(some).flatMap((one) => [`${one}`, ...some[1].map((other) => `${one} ${other}`)]);
    elements.only(new Set(keysOf(whole)));
    const isMuch = waiting > 0 || keysOf(near).filter((key) => !elements.get(key)).length > MOST_NEW;
    const some = isMuch ? near : whole;
    for (const one of rowsOf(some)) {
      const row = elements.keep(`${one}`, canvas, one, () => parts.row(one));
      for (const other of some[1]) elements.keep(`${one} ${other}`, row, other, () => parts.placed(one, other));
    }
    filled = isMuch ? "" : wanted;
    if (isMuch) waiting ||= requestAnimationFrame(() => setTimeout(lookOn));
  }

  function lookOn() {
    waiting = 0;
    if (element.isConnected) look();
  }

  function toChosen() {
    const [top, left] = [ROW * places()[0], width * places()[1]];
    element.scrollTop = between(element.scrollTop, top + ROW - (element.clientHeight - HEAD - foot), top);
    element.scrollLeft = between(element.scrollLeft, left + width - (element.clientWidth - side), left);
  }

  /** Scrolls to the chosen cell. */
  function reveal(focus) {
    toChosen();
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
