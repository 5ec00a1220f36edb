// The whole table as a strip above it, and jumps to what is surprising.

import { button, choice, make } from "./dom.js";
import { jumpsOf, nextOf, surprising } from "./jumps.js";
import { strip } from "./strip.js";

/** `{ element, draw(), look(), jump(isForward, focus) }`; it is shown of a table that does not fit. */
export function overview(view) {
  const whole = strip(view);
  const [byLabel, by] = choice("Jump by", [], (value) => view.change({ jump: value }));
  const said = make("span", { class: "note", role: "status" });
  const back = button("‹", () => jump(false), { "aria-label": "previous surprise", title: "previous surprise (Shift+N)" });
  const on = button("›", () => jump(true), { "aria-label": "next surprise", title: "next surprise (N)" });
  const jumps = make("div", { class: "jumps" }, byLabel, back, on, said, whole.tools);
  const element = make("section", { class: "overview", "aria-label": "overview of the whole table" }, whole.element, whole.note, jumps);

  function draw() {
    const { lens } = view.chosen();
    const offered = jumpsOf(lens);
    by.replaceChildren(...offered.map(([value, text]) => make("option", { value }, text)));
    by.value = chosenJump(lens);
    whole.draw();
    look();
  }

  const chosenJump = (lens) => (jumpsOf(lens).some(([name]) => name === view.state.jump) ? view.state.jump : jumpsOf(lens)[0][0]);

  /** Shows or hides it, and frames what is in sight. */
  function look() {
    element.hidden = !whole.look();
  }

  /** Chooses the next position, or the one before, at which something surprising happens. */
  function jump(isForward, focus = false) {
    const { lens, row, column } = view.chosen();
    const name = chosenJump(lens);
    const found = nextOf(surprising(lens, name), column, isForward);
    said.textContent = found === null ? `none ${isForward ? "after this" : "before this"}` : "";
    if (found !== null) view.choose(lens, row, found, focus);
  }
  return { element, draw, look, jump };
}
