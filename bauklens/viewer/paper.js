// Lines on paper, which cannot be scrolled to: all of them are built, or of very many those around the chosen one.

import { around } from "./around.js";
import { make } from "./dom.js";

const MOST_ON_PAPER = 400; // lines

/**
 * What says on paper how many lines are left out: an element.
 *
 * @param lines returns the place of the chosen line, and how many there are
 * @param build called with the place of each line that is printed
 * @param restore called when the page was printed
 */
export function onPaper(lines, build, restore) {
  const element = make("p", { class: "onpaper" });
  addEventListener("beforeprint", () => {
    if (!element.isConnected) return;
    const [chosen, count] = lines();
    const [first, end] = around(chosen, count, MOST_ON_PAPER);
    for (let place = first; place < end; place += 1) build(place);
    const left = count - (end - first);
    element.textContent = left > 0 ? `${left.toLocaleString("en")} lines are not printed` : "";
  });
  addEventListener("afterprint", restore);
  return element;
}
