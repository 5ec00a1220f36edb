// The elements of a grid, each in its place: rows, the heads at its edges, and cells.

import { bandCell, bandHead } from "./bandcells.js";
import { make } from "./dom.js";
import { cellElement, layerHead, positionHead } from "./heads.js";

export const [ROW, HEAD] = [22, 40]; // pixels of a row, and of the heads above

/** `{ row(down), placed(down, across) }`; of rows, -1 and that after the last are heads. */
export function gridParts(view, lenses, { axes, content, side, width }) {
  const [lens] = lenses;
  const isHeads = (down) => down < 0 || down === axes.down.length; // the classic look has them below as well

  function row(down) {
    const named = axes.layersAcross ? "position" : "layer";
    const first = isHeads(down) ? make("div", { class: "corner", role: "columnheader" }, named) : head("rowheader", down, 0);
    first.style.width = `${side}px`;
    if (down < 0) return make("div", { class: "row heads", role: "row", "aria-rowindex": 1 }, first);
    if (isHeads(down)) return make("div", { class: "row heads foot", "aria-hidden": "true", style: { "margin-top": `${ROW * down}px` } }, first);
    return make("div", { class: "row", role: "row", "aria-rowindex": down + 2, style: { top: `${HEAD + ROW * down}px` } }, first);
  }

  function placed(down, across) {
    const at = `left:${side + width * across}px;width:${width}px`;
    const each = isHeads(down) ? head("columnheader", across, 1) : cell(down, across, at);
    if (each.at !== at) each.style.cssText += at;
    each.setAttribute("aria-colindex", across + 2);
    return each;
  }

  function head(role, place, which) {
    const number = (which ? axes.across : axes.down)[place];
    const isLayer = Boolean(which) === axes.layersAcross;
    if (isLayer) return layerHead(role, lenses, number);
    return number < 0 ? bandHead(role, lens, view.state, number) : positionHead(role, lenses, number);
  }

  function cell(down, across, at) {
    const place = axes.cell(down, across);
    if (place[1] < 0) return bandCell(lenses, view.state, ...place, content);
    return cellElement(lenses, ...place, content.of(...place), at);
  }
  return { row, placed };
}

/** The one cell that the Tab key comes to is the chosen one, or stands for it. */
export function markCell(cell, isReached, isChosen) {
  cell.tabIndex = isReached ? 0 : -1;
  cell.classList.toggle("chosen", isChosen);
  if (isChosen) cell.setAttribute("aria-selected", "true");
  else cell.removeAttribute("aria-selected");
}
