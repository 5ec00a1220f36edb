// mount(): a figure and its lenses become a viewer; an event makes a new state, and the parts draw themselves anew.

import { chosenIn, settled } from "./axes.js";
import { bandOf, chosenEntry, columnOf, entryIn, foldedOrOpened } from "./bands.js";
import { tellPage } from "./changes.js";
import { isAbsent } from "./data.js";
import { layout } from "./layout.js";
import { holdState } from "./ownpage.js";
import { toggled } from "./pinstate.js";
import { keeping } from "./share.js";
import { shortcuts } from "./shortcuts.js";
import { stage } from "./stage.js";
import { changed, MOST_KEPT, opened, pairOf } from "./state.js";

const PANEL_ONLY = new Set(["layer", "position", "band", "picture", "patches", "imagery", "chart", "jump", "order", "difference", "kept", "notes", "panel", "attentionHead"]); // what the tables need not be built anew for

/**
 * A viewer in a figure. Its listeners are on the figure's own elements alone.
 *
 * @param lenses as `unpack` returns them
 * @param given a state to begin with
 * @param number which figure of the page it is
 * @returns the view: `state`, `change(change)`, `choose(lens, row, column)`, `pin(key)`
 */
export function mount(figure, lenses, given = {}, number = 0) {
  let state = opened(lenses, given);
  let over = null; // the cell under the pointer
  const keep = keeping(number);
  let last = lenses[0]; // the lens that a cell was chosen in
  const view = {
    figure,
    lenses,
    number,
    isPlaced: "position" in given, // by a link
    get state() {
      return state;
    },
    get pair() {
      return pairOf(lenses, state.show);
    },
    get shown() {
      return view.pair ?? (lenses[state.show] ? [lenses[state.show]] : lenses);
    },
    change(change) {
      const before = state;
      state = changed(state, change);
      if (state.show !== before.show || state.stride !== before.stride) state = changed(settled(active(), state), {});
      draw(before);
      keep(state);
      tellPage(figure, state);
    },
    choose(lens, row, place, focus = false) {
      [over, last] = [null, lens];
      view.change({ layer: lens.layers[row], ...chosenEntry(lens, state, place) });
      tables.reveal(focus ? lens : null);
    },
    fold(lens, band) {
      [over, last] = [null, lens];
      view.change(foldedOrOpened(lens, state, band));
      tables.reveal(lens);
    },
    over(place, lens, isRead = false) {
      if (String(place) === String(over?.place ?? null) && lens === (over?.lens ?? lens) && isRead === Boolean(over?.isRead)) return;
      over = place && { place, lens, isRead };
      panel.forEach((part) => part.draw());
      images.look();
    },
    chosen() {
      const [row, column] = chosenIn(active(), state);
      const lens = having(active(), column);
      return { lens, row, column, band: bandOf(lens, entryIn(lens, state, column)) };
    },
    seen() {
      if (!over) return view.chosen();
      const { place } = over;
      const lens = having(over.lens, place[1]);
      return { lens, row: place[0], column: columnOf(lens, place[1]), band: bandOf(lens, place[1]) };
    },
    /** What the reader shows: the chosen cell, or with Shift that under the pointer. */
    read: () => (over?.isRead ? view.seen() : view.chosen()),
    pin: (key) => view.change(toggled(state, key)),
    keep(position) {
      const others = state.kept.filter((each) => each !== position);
      view.change({ kept: Object.freeze(others.length < state.kept.length ? others : [...others, position].slice(-MOST_KEPT)) });
    },
    home: () => tables.reveal(active()),
    panes: () => tables.seen(),
  };
  /** A lens, or of two that are compared the one that has a column. */
  const having = (lens, column) => (isAbsent(lens, column) ? (view.shown.find((each) => !isAbsent(each, column)) ?? lens) : lens);
  const active = () => (view.shown.includes(last) ? last : view.shown[0]);
  const tables = stage(view);
  const { element, parts, panel, images, whole, focus } = layout(view, tables, number);

  function draw(before) {
    element.dataset.theme = state.theme;
    const moved = before && Object.keys(state).every((name) => PANEL_ONLY.has(name) || state[name] === before[name]);
    tables.draw(before, moved);
    parts.forEach((part) => part.draw());
  }

  shortcuts(view, element, focus);
  tables.element.addEventListener("scroll", whole.look, true);
  new ResizeObserver(whole.look).observe(tables.element);
  const tablesWithoutScript = figure.querySelectorAll(":scope > .static");
  figure.prepend(element);
  try {
    draw(null);
  } catch (error) {
    element.remove();
    throw error;
  }
  tablesWithoutScript.forEach((table) => table.remove());
  figure.classList.add("mounted");
  holdState(number, () => state);
  return view;
}
