// The Export menu: copies, files, pictures, and a link.

import { button, make, menu } from "./dom.js";
import { figureDialog } from "./figuredialog.js";
import { pageNow } from "./ownpage.js";
import { png, svg } from "./picture.js";
import { copy, download, fileName, link } from "./share.js";
import { cell, csv, json, markdown, table, tsv } from "./texts.js";

/** The menu, an element. */
export function takeaway(view) {
  const said = make("p", { class: "said", role: "status" });
  const seen = () => view.chosen();
  const original = (lens) => lens.original ?? lens; // without columns that only another lens has
  const shown = () => view.pair ?? [seen().lens];
  const through = ({ decoder }) => (decoder === "logit" ? "" : ` ${decoder}`);
  const named = (suffix, lens = seen().lens) => fileName(`${lens.prompt}`, `${lens.stream}${through(lens)}`, suffix);
  const pictureName = (suffix) => (view.panes().length + shown().length > 2 ? fileName(seen().lens.prompt, "compared", suffix) : named(suffix));
  const chosen = () => cell(shown(), seen().row, seen().column);
  const copied = async (text, what) => {
    said.textContent = (await copy(text, said.parentElement)) ? `${what} copied` : "the browser did not allow copying";
  };
  const picture = () => svg(view.panes(), seen().lens.caption);
  const onPage = document.body.classList.contains("bauklens-page");
  const actions = [
    ["Copy the cell (TSV)", () => copied(tsv(chosen()), "cell")],
    ["Copy the table (TSV)", () => copied(tsv(table(shown())), "table")],
    ["Copy the table (Markdown)", () => copied(markdown(table(shown())), "table")],
    ...(onPage ? [["Copy a link to this view", () => copied(link(view.state, view.number), "link")]] : []),
    ...(onPage ? [["Save a copy with this view", () => download(fileName(document.title, "view", "html"), pageNow(), "text/html")]] : []),
    ["Download CSV", () => download(named("csv"), csv(original(seen().lens)), "text/csv")],
    ...(view.lenses.every((lens) => lens.ids && lens.values.magnitude)
      ? [["Download JSON", () => download(named("json"), json(original(seen().lens)), "application/json")]]
      : []),
    ["Figure…", () => figureDialog(view, seen().lens, named)],
    ["Download SVG", () => download(pictureName("svg"), picture(), "image/svg+xml")],
    ["Download PNG", async () => download(pictureName("png"), await png(picture()), "image/png")],
  ];
  const whose = view.lenses.length > 1 ? [make("p", { class: "note" }, "CSV and JSON: the lens of the selected cell")] : [];
  return menu("Export", ...whose, ...actions.map(([text, act]) => button(text, act)), said);
}
