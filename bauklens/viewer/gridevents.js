// What a pointer and the keys do in a table.

import { bandOf } from "./bands.js";

/**
 * Listens on a table.
 *
 * @param look builds what has come into sight
 * @param going the place that a key goes to from the chosen cell; null for any other key
 * @param cell the row and column of a place
 */
export function gridEvents(view, lens, { element, look, going, cell }) {
  const placeOf = (event) => event.target.closest?.(".cell")?.place;
  element.addEventListener("scroll", look);
  element.addEventListener("pointermove", (event) => view.over(placeOf(event) ?? null, lens, event.shiftKey && Boolean(placeOf(event))));
  element.addEventListener("pointerleave", () => view.over(null, lens));
  element.addEventListener("mousedown", (event) => event.shiftKey && placeOf(event) && event.preventDefault()); // which selects texts
  element.addEventListener("click", (event) => {
    const band = event.target.closest?.(".head.band")?.band;
    if (band) view.fold(lens, band);
    else if (placeOf(event)) {
      if (event.shiftKey) keepToo(view);
      view.choose(lens, ...placeOf(event), true);
    }
  });
  element.addEventListener("keydown", (event) => {
    const band = bandOf(lens, placeOf(event)?.[1] ?? 0);
    const there = going(event);
    const folds = band && (event.key === "Enter" || event.key === " ");
    if (!there && !folds) return;
    event.preventDefault();
    if (there) view.choose(lens, ...cell(there), true);
    else {
      event.stopPropagation();
      view.fold(lens, band);
    }
  });
}

/** The position that was chosen so far stays in the charts. */
function keepToo(view) {
  const { lens, column, band } = view.chosen();
  if (!band && !view.state.kept.includes(lens.linked[column])) view.keep(lens.linked[column]);
}
