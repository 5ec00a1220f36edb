// The line below the form: what the server is doing, how long it took, and what went wrong.

import { button, make } from "./dom.js";

/** `begin()`, `queued(before)`, `part(name)`, `step(step)`, `done(hint)`, `failed(text)`, `clear()`; its button calls `stop`. */
export function status(element, stop) {
  let since = 0;
  let part = ""; // of what is done in several parts
  const seconds = () => `${((performance.now() - since) / 1000).toFixed(1)} s`;
  let [doing, began] = ["", 0]; // what is being done, and since when
  const text = make("span");
  const measure = make("progress", { max: 1, "aria-label": "progress" });
  const halt = button("Stop", stop, { class: "stop" });
  element.append(halt, measure, text); // so that the button stays in its place while the text changes

  function say(what, { failed = false, working = false } = {}) {
    element.classList.toggle("failed", failed);
    text.textContent = what;
    measure.hidden = halt.hidden = !working;
  }

  /** How long a step will take that takes long, by what is done of it so far; empty if nobody can know. */
  function left(what, done, total) {
    if (what !== doing) [doing, began] = [what, performance.now()];
    const passed = (performance.now() - began) / 1000;
    return total && done && passed > 3 ? `, about ${Math.ceil((passed * (total - done)) / done)} s left` : "";
  }

  say("");
  return {
    begin() {
      since = performance.now();
      part = "";
      measure.removeAttribute("value");
      say("Sending…", { working: true });
    },
    queued: (before) => before > 0 && say(`Waiting for ${before === 1 ? "one other request" : `${before} other requests`}…`, { working: true }),
    part: (name) => (part = name),
    step({ what, unit, done, total }) {
      if (unit === "prompt" && total === 1) return; // there is one, as everyone knows
      if (total) measure.value = done / total;
      else measure.removeAttribute("value");
      const count = total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")} ${unit}s` : `${done.toLocaleString("en")} ${unit}s`;
      say(`${part ? `${part}, ${what.toLowerCase()}` : what}: ${count}, ${seconds()}${left(what, done, total)}`, { working: true });
    },
    done: (hint = "") => say(`Done in ${seconds()}.${hint}`),
    failed: (what) => say(what, { failed: true }),
    told: (what) => say(what),
    clear: () => say(""),
  };
}
