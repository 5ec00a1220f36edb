// On a narrow screen the panel is below the table, out of sight: a tap on a cell shows its details in a sheet from below.

import { button, make } from "./dom.js";

/** The sheet, an element. It holds `detail` while it is open, and gives it back to `panel`, whose first child it is. */
export function tapSheet(main, panel, detail) {
  const close = button("Close", () => element.hidePopover(), { class: "close" });
  const element = make("div", { class: "tapped", popover: "auto", role: "dialog", "aria-label": "details of the tapped cell" }, close);
  const isBelow = () => panel.getBoundingClientRect().top >= main.getBoundingClientRect().bottom - 1;

  main.addEventListener("click", (event) => {
    const cell = event.target.closest?.(".cell, .patch");
    if (!cell || event.pointerType !== "touch" || !element.showPopover || element.matches(":popover-open") || !isBelow()) return;
    element.append(detail);
    element.showPopover();
    const hidden = cell.getBoundingClientRect().bottom - element.getBoundingClientRect().top;
    if (hidden > 0) scrollBy({ top: hidden + 8 });
  });
  element.addEventListener("toggle", () => element.matches(":popover-open") || panel.prepend(detail));
  return element;
}
