// The far zoom: the whole table as a strip, or a part of it, a pixel or less a cell, with a frame around what is in sight.

import { contentOf } from "./content.js";
import { button, make } from "./dom.js";
import { aboutPart, following, wholeOf, zoomed } from "./farzoom.js";
import { MOST_PIXELS, paintPixels } from "./pixels.js";

const [TALL, TALLEST] = [2, 96]; // pixels of a row, if there is room, and of height
const [TALL_LARGE, TALLEST_LARGE] = [9, 420]; // the same if it is enlarged
const FEWER = 0.5; // how many of the positions are left after a step of zoom
const DRAGGED = 3; // pixels from which on it is a drag

/** `{ element, tools, note, draw(), look() }`: the buttons that enlarge it, and what is said of it then. */
export function strip(view) {
  const canvas = make("canvas", { role: "img" });
  const frame = make("span", { class: "sight" });
  const element = make("div", { class: "strip" }, canvas, frame);
  const note = make("p", { class: "note" });
  const enlarge = button("Enlarge", () => change(!isLarge), { title: "enlarge the whole table, to choose a cell with a click" });
  const out = button("−", () => zoom(1 / FEWER), { "aria-label": "show more positions", title: "show more positions (Ctrl and the wheel)" });
  const into = button("+", () => zoom(FEWER), { "aria-label": "show fewer positions", title: "show fewer positions (Ctrl and the wheel)" });
  const tools = make("div", { class: "zooming" }, enlarge, out, into);
  let [lens, part, isLarge, painted] = [null, null, false, ""];
  let held = null; // where the pointer went down

  function draw() {
    const chosen = view.chosen().lens;
    if (chosen.columns !== lens?.columns) part = wholeOf(chosen.columns);
    lens = chosen;
    look();
  }

  /** How much of the table is in sight, as columns of it: where it begins, how many there are, and how wide the whole is. */
  function sight() {
    const scroll = view.panes()[0]?.scroll;
    const side = scroll?.querySelector(".corner")?.offsetWidth ?? 0;
    const [whole, seen] = scroll ? [scroll.scrollWidth - side, scroll.clientWidth - side] : [1, 1];
    return { scroll, whole, seen, first: ((scroll?.scrollLeft ?? 0) / whole) * lens.columns, count: (Math.min(whole, seen) / whole) * lens.columns };
  }

  /** Frames what is in sight; returns whether that is not all. */
  function look() {
    if (!lens) return false;
    const { whole, seen, first, count } = sight();
    const isNeeded = whole > seen + 1 && !view.state.layersAcross;
    if (!isNeeded) return false;
    part = following(part, lens.columns, first, first + count);
    paint();
    Object.assign(frame.style, { left: `${(100 * (first - part.from)) / part.count}%`, width: `${(100 * count) / part.count}%` });
    return true;
  }

  /** Paints the cells as the table has them; of cells that share a pixel, the strongest. */
  function paint() {
    const { state } = view;
    const ofPin = view.pair || ["token", "rank"].includes(state.colour);
    const wanted = JSON.stringify([view.lenses.indexOf(lens), state.show, state.colour, ofPin && state.pin, state.theme, state.bottomUp, part, isLarge]);
    if (painted === wanted) return;
    painted = wanted;
    const content = contentOf(view.pair ?? [lens], state);
    const pixels = Math.min(MOST_PIXELS, part.count);
    const [tall, most] = isLarge ? [TALL_LARGE, TALLEST_LARGE] : [TALL, TALLEST];
    canvas.style.height = `${Math.min(most, tall * lens.rows)}px`;
    const from = part.from;
    paintPixels(canvas, [pixels, lens.rows], [part.count, lens.rows], getComputedStyle(element).color, (top, column) => content.strength(rowAt(top), from + column));
    canvas.setAttribute("aria-label", `${aboutPart(part, lens, pixels)}: ${content.legend[0]}`);
    note.textContent = `${aboutPart(part, lens, pixels)}. A click chooses a cell, dragging scrolls the table.`;
    note.hidden = !isLarge;
    [out.hidden, into.hidden] = [!isLarge, !isLarge];
    [out.disabled, into.disabled] = [part.count === lens.columns, zoomed(part, lens.columns, FEWER, 0).count === part.count];
    enlarge.setAttribute("aria-pressed", String(isLarge));
    element.classList.toggle("large", isLarge);
  }

  const rowAt = (top) => (view.state.bottomUp ? lens.rows - 1 - top : top);

  function change(wanted) {
    isLarge = wanted;
    part = isLarge ? part : wholeOf(lens.columns);
    look();
  }

  /** Shows more or fewer positions around what is in sight, or around a place, 0..1. */
  function zoom(factor, at = null) {
    const { first, count } = sight();
    const middle = (first + count / 2 - part.from) / part.count;
    part = zoomed(part, lens.columns, factor, at ?? Math.max(0, Math.min(1, middle)));
    look();
  }

  /** What is under the pointer: its place from the left, 0..1, and the row and column of the cell. */
  function under(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((each) => Math.max(0, Math.min(0.999999, each)));
    return { x, cell: [rowAt(Math.floor(y * lens.rows)), part.from + Math.floor(x * part.count)] };
  }

  /** Scrolls the table so that what is under the pointer is in its middle. */
  function go(event) {
    const { scroll, whole, seen } = sight();
    const column = part.from + under(event).x * part.count;
    scroll.scrollLeft = (column / lens.columns) * whole - seen / 2;
  }

  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    held = event.clientX;
    go(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (event.buttons) go(event);
    else if (isLarge) view.over(under(event).cell, lens);
  });
  element.addEventListener("pointerup", (event) => {
    if (isLarge && held !== null && Math.abs(event.clientX - held) < DRAGGED) view.choose(lens, ...under(event).cell);
    held = null;
  });
  element.addEventListener("pointerleave", () => isLarge && view.over(null, lens));
  element.addEventListener("wheel", (event) => {
    if (!isLarge || !event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, under(event).x);
  });
  return { element, tools, note, draw, look };
}
