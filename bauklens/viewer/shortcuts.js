// The keys that do something wherever the focus is in the viewer.

import { cellOf, keyOf, tokenAt } from "./data.js";
import { WIDTHS } from "./widths.js";

const STEP = 12; // pixels

/** Listens on the viewer's element; `to` holds what moves the focus: `search`, `help`, `cell` and `jump`. */
export function shortcuts(view, element, to) {
  leaveToUs(element);
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // JupyterLab would take it for itself: "b" is a new cell
    if (event.target.matches("input, select, textarea")) return;
    const onCell = Boolean(event.target.closest(".scroll"));
    const act = {
      n: () => to.jump(true, onCell),
      N: () => to.jump(false, onCell),
      "/": to.search,
      "?": to.help,
      "+": () => widen(view, STEP),
      "-": () => widen(view, -STEP),
      p: onCell && (() => pinTop(view)),
      Enter: onCell && to.cell,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/**
 * Keeps Notebook 7 from taking a key before it comes here ("d", "d" is a cell less), by an attribute that it looks for
 * on what has the focus; but for keys with Ctrl, which are the notebook's: Ctrl+S saves it.
 */
function leaveToUs(element) {
  const tell = ({ target, ctrlKey, metaKey }) => target.toggleAttribute("data-lm-suppress-shortcuts", !ctrlKey && !metaKey);
  for (const name of ["focusin", "keydown", "keyup"]) element.addEventListener(name, tell);
}

function pinTop(view) {
  const { lens, row, column } = view.chosen();
  view.pin(keyOf(lens, tokenAt(lens, cellOf(lens, row, column))));
  view.home();
}

/** Makes the columns wider or narrower by so many pixels. */
export function widen(view, step) {
  view.change({ width: Math.min(WIDTHS[1], Math.max(WIDTHS[0], view.state.width + step)) });
}
