// The heads of positions, shaded by how much the attention of the chosen cell's block takes from them.

import { sharesOf } from "./attention.js";
import { chosenIn, holds } from "./axes.js";
import { shareText } from "./numbers.js";

/** Shades the heads that are in the document; two lenses that are compared have none. */
export function shadeHeads(lenses, state, canvas) {
  const [lens] = lenses;
  if (!lens.attention || lenses.length > 1) return;
  const [row, column] = chosenIn(lens, state);
  const shares = holds(lens, state) ? sharesOf(lens, row, column, state.attentionHead) : null;
  for (const head of canvas.querySelectorAll(".head.position")) {
    const share = shares && head.columns.reduce((sum, each) => sum + (shares[lens.positions[each]] ?? 0), 0);
    head.classList.toggle("read", share !== null);
    if (share === null) {
      head.title = head.hint;
      continue;
    }
    head.style.setProperty("--a", Math.min(1, share).toFixed(3));
    head.style.setProperty("--s", Math.sqrt(Math.min(1, share)).toFixed(3));
    head.title = `${head.hint}\n${shareText(share)} of the attention of layer ${lens.layers[row]} at position ${lens.positions[column]}`;
  }
}
