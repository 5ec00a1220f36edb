// What a page around a viewer may do: it is told of what is chosen, and of a token that somebody wants to change.

import { button } from "./dom.js";
import { written } from "./state.js";

const isLive = (figure) => figure.dataset.live !== undefined;

/** A button that asks the page to change a token at the cell that is seen; none where no page would. */
export function changeButton(view, lens, token) {
  if (!isLive(view.figure) || !lens.ids) return [];
  const { lens: seen, row, column } = view.seen();
  const [layer, position] = [seen.layers[row], seen.positions[column]];
  const [id, text] = [lens.ids[token], lens.shown[token]];
  const ask = () => view.figure.dispatchEvent(new CustomEvent("bauklens-change", { bubbles: true, detail: { id, text, layer, position } }));
  return [button("✎", ask, { class: "edit", "aria-label": `change ${text}`, title: "swap, strengthen or remove this token" })];
}

/** Tells the page what is chosen. */
export function tellPage(figure, state) {
  if (isLive(figure)) figure.dispatchEvent(new CustomEvent("bauklens-state", { bubbles: true, detail: written(state) }));
}
