// The elements of a table: what stands at its edges, and its cells.

import { announced } from "./announced.js";
import { isAbsent } from "./data.js";
import { make } from "./dom.js";
import { rowHead } from "./rows.js";
import { isOfLabels, isUnread } from "./words.js";

/** The head of a layer, with what is known of its row, in one lens or in two. */
export function layerHead(role, lenses, row) {
  const { text, title, quality } = rowHead(lenses[0], row, lenses[1]);
  return make("div", { class: "head layer", role, title, style: quality === null ? {} : { "--q": quality.toFixed(3) } }, text);
}

/** The head of a position, in one lens or in two. */
export function positionHead(role, lenses, column) {
  const lens = lenses.find((each) => !isAbsent(each, column)) ?? lenses[0];
  const [position, name] = [lens.positions[column], tokensOver(lenses, column)];
  const isPart = isPartOf(lens, column);
  const head = isPart ? shortOf(name) : headsOver(lenses, column);
  const missing = lenses.length > 1 ? lenses.find((each) => isAbsent(each, column)) : null;
  const generated = lens.generatedFrom !== null && position >= lens.generatedFrom;
  const here = `position ${position}${generated ? ", generated" : ""}: ${name}`;
  const title = isAbsent(lens, column) ? "a position of the other text" : `${here}${missing ? `; ${missing.name} has no such position` : ""}`;
  const kind = `head position${generated ? " generated" : ""}${isPart ? " part" : ""}${isUnread(lenses, column) ? " unread" : ""}`;
  const element = make("div", { class: kind, role, title, "aria-label": isPart && title }, make("i", {}, String(position)), make("bdi", {}, head));
  return Object.assign(element, { columns: [column], hint: title });
}

/** What stands over a column of text: a character at the first of its tokens, else the token; both where two lenses differ. */
const headsOver = (lenses, column) => [...new Set(having(lenses, column).map((lens) => headOf(lens, column)))].join(" | ");

const having = (lenses, column) => lenses.filter((lens) => !isAbsent(lens, column));

const headOf = (lens, column) => lens.characters[column]?.head ?? lens.tokens[column];

/** What a column is called at an axis. */
export const tickOf = (lens, column) => (isPartOf(lens, column) ? shortOf(nameOver(lens, column)) : headOf(lens, column));

/** "at" what a column reads: a part of a picture, or a text of which a classifier reads a label; "after" a token that another follows. */
export const atOrAfter = (lens, column) => (isPartOf(lens, column) || isOfLabels(lens) ? "at" : "after");

/** What a column is called, or both where two lenses differ in it. */
export const tokensOver = (lenses, column) => [...new Set(having(lenses, column).map((lens) => nameOver(lens, column)))].join(" | ");

/** What a column is called: the part of a picture that it reads, or its token, with the character that it is a part of. */
export const nameOver = (lens, column) => lens.labels[column] || tokenOf(lens, column);

function tokenOf(lens, column) {
  const whole = lens.characters[column]?.whole;
  return whole ? `${lens.tokens[column]}, part of ${whole}` : lens.tokens[column];
}

/** Whether a column reads a part of a picture, or another thing that is not a token. */
export const isPartOf = (lens, column) => Boolean(lens.labels[column]);

/** What a column is called, as short as its head needs it: "3·5" for row 3, column 5 of a picture. */
export const shortOf = (name) => name.replace(/^.*, row (\d+), column (\d+)$/, "$1·$2");

/** A cell of one lens, or of two that are compared, from what `contentOf` says of it; `at` is its place, as a style. */
export function cellElement(lenses, row, column, content, at = "") {
  const [lens] = lenses;
  const cell = make("div", { role: "gridcell", tabindex: "-1", "data-layer": lens.layers[row], "data-position": lens.positions[column] });
  Object.assign(cell, { place: [row, column], at });
  showCell(cell, lenses, content);
  return cell;
}

/** Has the element of a cell show what `contentOf` says of it. */
export function showCell(cell, lenses, { text, p, m, mark, none, unread, edited, side }) {
  const drawn = [text, p, m, mark?.shape, mark?.rank === 1, none, unread, edited, side].join("\n");
  if (cell.drawn === drawn) return;
  const said = announced(lenses, ...cell.place, { text, mark, edited });
  const style = `--p:${p};--m:${m};${mark ? `--pin:${mark.colour};` : ""}${cell.at}`;
  cell.className = ["cell", mark && (mark.rank === 1 ? "leads" : "follows"), none && "none", unread && "unread", edited && "edited", side].filter(Boolean).join(" ");
  cell.style.cssText = style;
  if (mark) cell.dataset.pin = mark.shape;
  else cell.removeAttribute("data-pin");
  if (cell.textContent !== text) cell.textContent = text;
  cell.setAttribute("aria-label", said);
  Object.assign(cell, { said, drawn });
}
