// The reader: the top tokens in order, one line for each layer at a position, or for each position at a layer.

import { keyOf } from "./data.js";
import { make, tick } from "./dom.js";
import { moved } from "./keys.js";
import { onPaper } from "./paper.js";
import { pinned } from "./pins.js";
import { lineElement, LINE_HEIGHT, markLine } from "./readelements.js";
import { readHere, readLines } from "./readlines.js";
import { built, inSight } from "./window.js";

/** `{ element, draw(), focus() }`: of the chosen cell; of that under the pointer while Shift is held. */
export function reader(view) {
  const caption = make("p", { class: "note" });
  const [words, onlyWords] = tick("words only", (wordsOnly) => view.change({ wordsOnly }));
  words.title = "leaves out blanks, punctuation, single bytes and parts of words; cells of the table show a dot instead";
  const canvas = make("div", { class: "pages", role: "presentation" });
  const box = make("div", { class: "lines", role: "grid" }, canvas);
  const element = make("div", { class: "reader", role: "group", "aria-label": "reader" }, make("div", { class: "top" }, caption, words), box);
  const elements = built();
  let [lens, lines, pins, chosen, drawn] = [null, [], new Map(), 0, ""];
  /** @type {[number, number]} */
  let at = [0, 0]; // the line and the place in it that the Tab key comes to

  function draw() {
    const { state } = view;
    element.hidden = state.panel === "charts";
    const { row, column, ...seen } = view.read();
    const wanted = element.hidden ? "" : JSON.stringify([view.lenses.indexOf(seen.lens), state.show, state.panel === "layers" ? column : row, state.panel, state.wordsOnly, state.bottomUp, state.pins]);
    const [isOther, before] = [wanted !== drawn, chosen];
    drawn = wanted;
    if (element.hidden) return;
    const isFocused = canvas.contains(document.activeElement);
    if (isOther) begin(seen.lens, row, column);
    chosen = lines.findIndex((line) => line.row === row && line.column === column);
    if (!isOther && chosen === before) return;
    at = isFocused ? [Math.min(at[0], lines.length - 1), at[1]] : [chosen, 0];
    for (const place of [before, chosen]) markLine(elements.get(place), place === chosen);
    const below = LINE_HEIGHT * chosen - box.scrollTop; // of the upper edge
    if (below < 0 || below + LINE_HEIGHT > box.clientHeight) box.scrollTop += below - (box.clientHeight - LINE_HEIGHT) / 2;
    look();
    if (isFocused) reached().focus({ preventScroll: true });
  }

  /** Lines of another cell, or read otherwise; none of them is built yet. */
  function begin(other, row, column) {
    const { state } = view;
    lens = other;
    onlyWords.checked = state.wordsOnly;
    lines = readLines(lens, state, row, column);
    pins = new Map(pinned(lens, state).map((pin) => [pin.token, pin]));
    caption.textContent = `${view.shown.length > 1 ? `${lens.name}: the` : "The"} ${readHere(lens, state, row, column)}`;
    box.setAttribute("aria-label", caption.textContent);
    box.setAttribute("aria-rowcount", lines.length);
    box.classList.toggle("positions", state.panel === "positions");
    canvas.style.height = `${LINE_HEIGHT * lines.length}px`;
    canvas.replaceChildren();
    elements.clear();
  }

  /** Builds the lines that have come into sight, and takes away those that have left it. */
  function look() {
    if (!lines.length || element.hidden || matchMedia("print").matches) return;
    const places = inSight(box.scrollTop, box.clientHeight, LINE_HEIGHT, lines.length, at[0]);
    elements.only(new Set(places));
    places.forEach(lineAt);
    for (const each of canvas.querySelectorAll("[tabindex='0']")) each.setAttribute("tabindex", "-1");
    reached().tabIndex = 0;
  }

  function reached() {
    const { children } = elements.get(at[0]);
    return children[Math.min(at[1], children.length - 1)];
  }

  /** Pins the token, or chooses the cell of a line's label. */
  function act(target) {
    const cell = target.closest?.(".word, .label");
    if (!cell) return;
    const line = cell.parentElement;
    at = [line.place, [...line.children].indexOf(cell)];
    if (cell.token !== undefined) view.pin(keyOf(lens, cell.token));
    else view.choose(lens, lines[line.place].row, lines[line.place].column);
  }

  function keys(event) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      act(event.target);
      return;
    }
    if (event.key === "Escape") view.home();
    const there = moved(event, { down: lines, across: { length: lens.topk + 1 } }, at, box.clientHeight / LINE_HEIGHT - 1);
    if (!there) return;
    event.preventDefault();
    box.scrollTop = Math.min(LINE_HEIGHT * there[0], Math.max(box.scrollTop, LINE_HEIGHT * (there[0] + 1) - box.clientHeight));
    at = [there[0], there[1]];
    look();
    at[1] = [...reached().parentElement.children].indexOf(reached());
    reached().focus();
  }

  function newLine(place) {
    const line = lineElement(lens, view.state, pins, lines[place], place);
    markLine(line, place === chosen);
    return line;
  }
  const lineAt = (place) => elements.keep(place, canvas, place, () => newLine(place));
  element.append(onPaper(() => (element.hidden ? [0, 0] : [chosen, lines.length]), lineAt, look));
  box.addEventListener("scroll", look);
  new ResizeObserver(look).observe(box);
  box.addEventListener("click", (event) => act(event.target));
  box.addEventListener("keydown", keys);
  return { element, draw, focus: () => reached().focus() };
}
