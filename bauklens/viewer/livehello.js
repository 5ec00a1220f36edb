// What stands there before the first look: examples to press, and what can be done then.

import { button, make } from "./dom.js";

const EXAMPLES = ["The Eiffel Tower is located in the city of", "Fact: The currency used in the country shaped like a boot is the", "The opposite of hot is"];

/** Shows it, until `away()`; `look(prompt)` is called with an example that is pressed. */
export function hello(element, look) {
  const steps = [
    ["Look.", " Type the beginning of a text above and press Enter, or press one of these:"],
    ["Read.", " Each row is a layer, each column a token. A cell shows what the model would say next if it stopped there."],
    ["Change.", " Press ✎ beside a token to swap, strengthen or remove it, and see whether the answer changes with it. Random changes show the effect of chance. A token below the prompt can be replaced."],
  ];
  const examples = make("p", { class: "examples" }, ...EXAMPLES.map((each) => button(each, () => look(each))));
  const whole = make("section", { class: "live-hello", "aria-label": "how to begin" },
    make("ol", {}, ...steps.map(([what, how], place) => make("li", {}, make("b", {}, what), how, place ? null : examples))),
  );
  element.before(whole);
  return { away: () => whole.remove() };
}
