// The values of a chart as a table that is not seen, but read out; around the chosen place, if there are many.

import { make } from "./dom.js";

const MOST_READ = 400; // values
const AFTER = 200; // ms: a chart that is gone by then, as the pointer moves on, needs no table

/** Adds the table to a chart's element, unless that has left the page by then; the arguments are `chart`'s. */
export function readOut(element, { lines, names, title, chosen, show }) {
  setTimeout(() => {
    if (element.isConnected) element.append(tableOfChart(lines, names, title, chosen, show));
  }, AFTER);
}

function tableOfChart(lines, names, title, chosen, show) {
  const [first, end] = around(chosen, names.length, Math.max(10, Math.floor(MOST_READ / Math.max(1, lines.length))));
  const part = end - first < names.length ? ` (${names[first]} to ${names[end - 1]})` : "";
  const heads = lines.map(({ name }) => make("th", { scope: "col" }, name));
  const rows = names.slice(first, end).map((name, place) => {
    const values = lines.map((line) => make("td", {}, show(line.values[first + place] ?? NaN)));
    return make("tr", {}, make("th", { scope: "row" }, name), ...values);
  });
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "place"), ...heads));
  const table = make("table", {}, make("caption", {}, `${title}${part}`), head, make("tbody", {}, ...rows));
  return make("div", { class: "unseen" }, table); // Firefox would show the caption of a table that is clipped itself
}

/** At most so many places around one: the first, and that after the last. */
export function around(place, count, most) {
  const first = Math.max(0, Math.min(place - Math.floor(most / 2), count - most));
  return [first, Math.min(count, first + most)];
}
