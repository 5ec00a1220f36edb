// The table at the top of a report: it can be sorted and filtered, and opens one result at a time.

import { button, make } from "./dom.js";

/** Makes the table of the page work, if it has one that does not yet; `mounted` mounts what has come to be open. */
export function report(mounted) {
  const table = /** @type {HTMLTableElement} */ (document.querySelector("table.overview:not(.live)"));
  if (!table) return;
  table.classList.add("live");
  document.body.classList.add("one-at-a-time");
  const results = /** @type {HTMLDetailsElement[]} */ ([...document.querySelectorAll("details.result")]);
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.matches(".still") || sortable(table, heads, head, column));
  table.before(filterOf(rows));
  const scroll = make("div", { class: "overview-scroll", tabindex: 0, role: "region", "aria-label": "results" });
  table.replaceWith(scroll);
  scroll.append(table);

  function opened(result) {
    for (const each of results) each.open = each === result;
    for (const row of rows) {
      const isOpen = linkOf(row).hash === `#${result.querySelector(":scope > [id]").id}`;
      if (isOpen) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    mounted();
  }

  /** Opens what the address names: a result, or the view of one of the page's viewers. */
  function follow(scrolls) {
    const name = partsOf().find((part) => !part.startsWith("lens-"));
    const number = /[#&]lens-(\d+)=/.exec(location.hash)?.[1];
    const named = name || !number ? document.getElementById(name ?? "") : document.querySelectorAll("figure.bauklens")[number];
    const result = named?.closest("details.result");
    if (result) opened(result);
    if (result && scrolls) result.scrollIntoView({ block: "start" });
    return Boolean(result);
  }

  /** Opens a result; the address names it, and keeps what it holds of views. */
  function go(event, name) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const kept = partsOf().filter((part) => part.startsWith("lens-"));
    history.pushState(null, "", `#${[name, ...kept].join("&")}`);
    follow(true);
  }

  for (const each of results) each.addEventListener("toggle", () => each.open && opened(each));
  for (const row of rows) {
    row.addEventListener("click", (event) => /** @type {HTMLElement} */ (event.target).closest("a") || linkOf(row).click());
    linkOf(row).addEventListener("click", (event) => go(event, linkOf(row).hash.slice(1)));
  }
  window.addEventListener("hashchange", () => follow(true));
  if (!follow(false)) opened(results.find((each) => each.open) ?? results[0]);
}

const partsOf = () => location.hash.slice(1).split("&").filter(Boolean);

const linkOf = (row) => row.cells[0].querySelector("a");

/** A head that sorts by its column: once up, again down; numbers as numbers, and rows without a value last. */
function sortable(table, heads, head, column) {
  const sort = () => {
    const isDown = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [valueIn(row.cells[column]), row]);
    const [known, unknown] = [rows.filter(([value]) => value !== ""), rows.filter(([value]) => value === "")];
    known.sort(([one], [other]) => (isDown ? -1 : 1) * (typeof one === "number" ? one - other : one.localeCompare(other)));
    table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
  };
  head.replaceChildren(button(head.textContent, sort));
}

function valueIn(cell) {
  const { value } = cell.dataset;
  return value === undefined ? cell.textContent.trim() : value && Number(value);
}

/** A box whose words all are to be in a row: its prompt, its lens or its answer. */
function filterOf(rows) {
  const said = make("output", { class: "found" }, `${rows.length} results`);
  const box = make("input", { type: "search", "aria-label": "filter results", placeholder: "filter" });
  const texts = rows.map((row) => `${row.textContent} ${linkOf(row).title}`.toLowerCase());
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    rows.forEach((row, place) => (row.hidden = !words.every((word) => texts[place].includes(word))));
    const count = rows.filter((row) => !row.hidden).length;
    said.textContent = count === rows.length ? `${count} results` : `${count} of ${rows.length} results`;
  });
  return make("p", { class: "filter" }, box, " ", said);
}
