// The patches of a picture: a grid over the image, one element per patch, which a pointer or the arrow keys choose.

import { make } from "./dom.js";
import { range } from "./numbers.js";
import { movedPatch, patchContent, patchesOf } from "./patchvalues.js";

const ROOM = 30; // pixels that a patch needs to show a text

/** `{ element, draw(lens, row, picture), look(column, chosen), isSmall() }`; `resized` is called if texts come or go. */
export function patches(view, resized) {
  const image = make("img", { alt: "", draggable: "false" });
  const grid = make("div", { class: "patches", role: "grid" });
  const element = make("div", { class: "overlay" }, grid);
  let shown = { lens: null, picture: null, columns: [], row: 0 };
  let [drawn, chosen] = ["", null];
  const elements = new Map(); // column -> element

  function build(lens, picture) {
    const { columns, isPlaced } = patchesOf(lens, picture);
    shown = { ...shown, lens, picture, columns };
    elements.clear();
    const rows = columns.map((row, down) => make("div", { role: "row" }, ...row.map((column, across) => patch(column, down, across))));
    grid.replaceChildren(...rows);
    const across = range(columns.map(({ length }) => length))[1] || 1;
    element.style.setProperty("--rows", columns.length || 1);
    element.style.setProperty("--across", across);
    element.classList.toggle("apart", !isPlaced);
    element.classList.toggle("bare", !picture.url);
    shaped(across / (columns.length || 1));
    image.remove();
    if (picture.url) element.prepend(Object.assign(image, { src: picture.url }));
  }

  function patch(column, down, across) {
    if (column < 0) return make("div", { class: "patch absent", role: "gridcell" });
    const each = make("div", { class: "patch", role: "gridcell", tabindex: "-1", "data-position": shown.lens.positions[column] }, make("span", {}));
    elements.set(column, each);
    return Object.assign(each, { column, place: [down, across] });
  }

  const shaped = (ratio) => element.style.setProperty("--ratio", ratio.toFixed(4));

  function draw(lens, row, picture) {
    if (lens !== shown.lens || picture !== shown.picture) [drawn, chosen] = ["", build(lens, picture) ?? null];
    const { state } = view;
    element.style.setProperty("--seen", state.imagery);
    const wanted = JSON.stringify([row, state.pins, state.pin, state.patches, state.hideBlank, state.wordsOnly]);
    shown.row = row;
    if (drawn === wanted) return;
    drawn = wanted;
    const content = patchContent(lens, state, row, picture);
    grid.setAttribute("aria-label", `${picture.shown}: ${content.legend[0]}`);
    grid.style.setProperty("--over", content.pin ? content.pin.colour : "var(--likely)");
    for (const [column, each] of elements) fill(each, content.of(column), placeOf(each));
  }

  const placeOf = ({ place: [down, across] }) => (element.classList.contains("apart") ? "" : `row ${down + 1}, column ${across + 1}: `);

  function fill(each, { text, said, p, none, mark }, place) {
    each.firstChild.textContent = text;
    each.style.setProperty("--length", [...text].length || 1);
    each.title = `${place}${said}`;
    each.setAttribute("aria-label", each.title);
    each.style.setProperty("--p", p.toFixed(3));
    each.classList.toggle("none", none);
    each.classList.toggle("leads", mark?.rank === 1);
    if (mark) each.style.setProperty("--pin", mark.colour);
  }

  /** Marks the patch of the column that is seen, and the one that is chosen; Tab comes to that, or to the first. */
  function look(column, isChosen) {
    grid.querySelector(".seen")?.classList.remove("seen");
    elements.get(column)?.classList.add("seen");
    if (!isChosen && chosen) return;
    if (chosen) {
      chosen.tabIndex = -1;
      chosen.classList.remove("chosen");
      chosen.removeAttribute("aria-selected");
    }
    const there = elements.get(column);
    chosen = there ?? elements.values().next().value ?? null;
    if (chosen) chosen.tabIndex = 0;
    if (!there || !isChosen) return;
    there.classList.add("chosen");
    there.setAttribute("aria-selected", "true");
  }

  const columnOf = (event) => event.target.closest?.(".patch")?.column;
  const over = (column) => view.over(column === undefined ? null : [shown.row, column], shown.lens);
  const choose = (column) => column !== undefined && view.choose(shown.lens, shown.row, column);
  grid.addEventListener("pointermove", (event) => over(columnOf(event)));
  grid.addEventListener("pointerleave", () => over(undefined));
  grid.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && over(columnOf(event)));
  grid.addEventListener("focusout", () => over(undefined));
  grid.addEventListener("click", (event) => choose(columnOf(event)));
  grid.addEventListener("keydown", (event) => {
    const each = event.target.closest(".patch");
    if (!each || event.altKey || event.metaKey || event.ctrlKey) return;
    const there = movedPatch(event.key, shown.columns, each.place);
    const act = { Enter: () => choose(each.column), " ": () => choose(each.column), Escape: view.home }[event.key];
    if (!there && !act) return;
    event.preventDefault();
    event.stopPropagation();
    if (act) act();
    else elements.get(shown.columns[there[0]][there[1]]).focus();
  });
  image.addEventListener("load", () => element.classList.contains("apart") || shaped(image.naturalWidth / image.naturalHeight));
  new ResizeObserver(() => {
    const width = grid.clientWidth / Number(element.style.getPropertyValue("--across") || 1);
    const wasSmall = element.classList.contains("small");
    if (element.classList.toggle("small", width < ROOM) !== wasSmall) resized();
    element.style.setProperty("--size", `${width.toFixed(1)}px`);
  }).observe(grid);
  return { element, draw, look, isSmall: () => element.classList.contains("small") };
}
