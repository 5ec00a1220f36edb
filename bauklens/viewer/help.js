// The list of keys, a dialog.

import { button, make } from "./dom.js";
import { KEYS } from "./keys.js";

/** `{ element, open() }`. */
export function help() {
  const lines = KEYS.flatMap(([keys, what]) => [make("dt", {}, keys), make("dd", {}, what)]);
  const close = button("Close", () => element.close());
  const element = make("dialog", { "aria-label": "keyboard shortcuts" }, make("h3", {}, "Keyboard shortcuts"), make("dl", {}, ...lines), close);
  return { element, open: () => element.showModal() };
}
