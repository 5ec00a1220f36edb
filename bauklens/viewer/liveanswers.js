// What a change does to what the model says next: as it is, changed, and with random changes of the same size.

import { make } from "./dom.js";

/** The table of answers, with the sentence above it; the random ones are seen when they are asked for. */
export function answersOf({ targets, rows, told, done, controls }) {
  const percent = (share) => (share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);
  const head = ["next token", ...targets.map((target) => `p(${target})`), "continuation"];
  const line = ({ name, top, share, probability, text }) =>
    make("tr", { class: name.startsWith("random") ? "control" : null },
      make("th", { scope: "row" }, name),
      make("td", {}, make("bdi", {}, top), share ? make("small", {}, ` ${share}`) : ""),
      ...probability.map((each) => make("td", { class: "number" }, percent(each))),
      make("td", { class: "text" }, make("bdi", {}, text?.trimStart().replaceAll("\n", "↵") ?? (done ? "" : "…"))),
    );
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...head.map((each) => make("th", { scope: "col" }, make("bdi", {}, each))))), make("tbody", {}, ...rows.map(line)));
  const about = controls ? "Random changes have directions of the same length, at the same layers and positions. If they have the same effect, it is not an effect of the token. Their row shows the most common next token, the mean probability, and the continuation of the first random change. A change that includes the last layers acts on the answer directly." : "This change has no direction, so it cannot be compared with random ones.";
  return make("div", {}, make("p", { class: "told" }, told), make("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "answers" }, table), make("p", { class: "note" }, about));
}
