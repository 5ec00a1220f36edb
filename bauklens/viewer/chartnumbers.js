// The charts as tables of numbers, which are made when they are opened.

import { make } from "./dom.js";
import { valueText } from "./numbers.js";

const MOST_ROWS = 2000;

/** `{ element, draw() }`, for the charts that `charts()` returns. */
export function chartNumbers(charts) {
  const body = make("div", { class: "numbers" });
  const element = make("details", { ontoggle: () => draw() }, make("summary", {}, "Values as a table"), body);
  function draw() {
    body.replaceChildren(...(element.open ? charts().map(tableOfChart) : []));
  }
  return { element, draw };
}

function tableOfChart(shown) {
  const [heads, ...rows] = chartRows(shown);
  const cells = (row) => row.slice(1).map((each) => make("td", {}, typeof each === "number" ? valueText(each) : each));
  const body = rows.slice(0, MOST_ROWS).map((row) => make("tr", {}, make("th", { scope: "row" }, row[0]), ...cells(row)));
  const left = rows.length > MOST_ROWS ? `; the first ${MOST_ROWS.toLocaleString("en")} of ${rows.length.toLocaleString("en")}, the rest is in the CSV` : "";
  const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
  const table = make("table", {}, make("caption", {}, `${shown.title}${left}`), make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": shown.title }, table);
}

/** A chart as rows: its axis, and a column for each line and each kind of bar. */
export function chartRows({ lines, bars = [], names, texts, axis }) {
  const columns = [...bars, ...lines];
  const rows = names.map((name, place) => [texts ? `${name} ${texts[place]}` : name, ...columns.map(({ values }) => values[place] ?? NaN)]);
  return [[axis, ...columns.map(({ name }) => name)], ...rows];
}
