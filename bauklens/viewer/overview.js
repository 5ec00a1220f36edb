// The whole table as a strip above it, a pixel or less a cell, with a frame around what is in sight; and jumps.

import { contentOf } from "./content.js";
import { button, choice, make } from "./dom.js";
import { jumpsOf, nextOf, surprising } from "./jumps.js";

const TALL = 2; // pixels of a row, if there is room
const TALLEST = 96; // pixels of height
const WIDE = 1200; // pixels across that are painted at most

/** `{ element, draw(), look(), jump(isForward, focus) }`; the strip is shown of a table that does not fit. */
export function overview(view) {
  const canvas = make("canvas", { role: "img" });
  const frame = make("span", { class: "sight" });
  const strip = make("div", { class: "strip" }, canvas, frame);
  const [byLabel, by] = choice("Jump by", [], (value) => view.change({ jump: value }));
  const said = make("span", { class: "note", role: "status" });
  const back = button("‹", () => jump(false), { "aria-label": "previous surprise", title: "previous surprise (Shift+N)" });
  const on = button("›", () => jump(true), { "aria-label": "next surprise", title: "next surprise (N)" });
  const jumps = make("div", { class: "jumps" }, byLabel, back, on, said);
  const element = make("section", { class: "overview", "aria-label": "overview of the whole table" }, strip, jumps);
  let painted = "";

  const table = () => view.panes()[0]?.scroll;

  function draw() {
    const { lens } = view.chosen();
    const offered = jumpsOf(lens);
    by.replaceChildren(...offered.map(([value, text]) => make("option", { value }, text)));
    by.value = chosenJump(lens);
    paint(lens);
    look();
  }

  const chosenJump = (lens) => (jumpsOf(lens).some(([name]) => name === view.state.jump) ? view.state.jump : jumpsOf(lens)[0][0]);

  /** Paints the cells as the table has them; of a table wider than the strip, the strongest of those that share a pixel. */
  function paint(lens) {
    const { state } = view;
    const wanted = JSON.stringify([view.lenses.indexOf(lens), state.show, state.colour, state.pins, state.pin, state.theme, state.bottomUp]);
    if (element.hidden || painted === wanted) return;
    painted = wanted;
    const content = contentOf(view.pair ?? [lens], state);
    const [across, down] = [Math.min(WIDE, lens.columns), lens.rows];
    [canvas.width, canvas.height] = [across, down];
    canvas.style.height = `${Math.min(TALLEST, TALL * down)}px`;
    canvas.setAttribute("aria-label", `the whole table, ${lens.rows} layers and ${lens.columns} positions: ${content.legend[0]}`);
    const brush = canvas.getContext("2d");
    brush.fillStyle = getComputedStyle(strip).color;
    for (let row = 0; row < down; row += 1) {
      const top = state.bottomUp ? down - 1 - row : row;
      for (let pixel = 0; pixel < across; pixel += 1) {
        brush.globalAlpha = strongest(content, row, Math.floor((pixel * lens.columns) / across), Math.floor(((pixel + 1) * lens.columns) / across));
        brush.fillRect(pixel, top, 1, 1);
      }
    }
  }

  /** Shows or hides the strip, and frames what is in sight. */
  function look() {
    const scroll = table();
    if (!scroll) return;
    const side = scroll.querySelector(".corner")?.offsetWidth ?? 0;
    const [whole, seen] = [scroll.scrollWidth - side, scroll.clientWidth - side];
    const wasHidden = element.hidden;
    element.hidden = whole <= seen + 1 || view.state.layersAcross;
    if (wasHidden && !element.hidden) paint(view.chosen().lens);
    Object.assign(frame.style, { left: `${(100 * scroll.scrollLeft) / whole}%`, width: `${(100 * Math.min(whole, seen)) / whole}%` });
  }

  /** Scrolls the table so that what is under the pointer is in its middle. */
  function go(event) {
    const box = canvas.getBoundingClientRect();
    const scroll = table();
    const side = scroll.querySelector(".corner").offsetWidth;
    const part = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    scroll.scrollLeft = part * (scroll.scrollWidth - side) - (scroll.clientWidth - side) / 2;
  }

  /** Chooses the next position, or the one before, at which something surprising happens. */
  function jump(isForward, focus = false) {
    const { lens, row, column } = view.chosen();
    const name = chosenJump(lens);
    const found = nextOf(surprising(lens, name), column, isForward);
    said.textContent = found === null ? `none ${isForward ? "further on" : "before"}` : "";
    if (found !== null) view.choose(lens, row, found, focus);
  }

  strip.addEventListener("pointerdown", (event) => {
    strip.setPointerCapture(event.pointerId);
    go(event);
  });
  strip.addEventListener("pointermove", (event) => event.buttons && go(event));
  return { element, draw, look, jump };
}

/** The strongest colour of some cells of a row, 0..1. */
function strongest(content, row, first, end) {
  let most = 0;
  for (let column = first; column < Math.max(end, first + 1); column += 1) most = Math.max(most, content.of(row, column).p || 0);
  return most;
}
