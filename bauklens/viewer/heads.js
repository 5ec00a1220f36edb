// The elements of a table: what stands at its edges, and its cells.

import { make } from "./dom.js";
import { rowHead } from "./rows.js";

/** The head of a layer, with what is known of its row, in one lens or in two. */
export function layerHead(role, lenses, row) {
  const { text, title, quality } = rowHead(lenses[0], row, lenses[1]);
  return make("div", { class: "head layer", role, title, style: quality === null ? {} : { "--q": quality.toFixed(3) } }, text);
}

/** The head of a position, in one lens or in two. */
export function positionHead(role, lenses, column) {
  const [lens] = lenses;
  const [position, head] = [lens.positions[column], headsOver(lenses, column)];
  const generated = lens.generatedFrom !== null && position >= lens.generatedFrom;
  const title = `position ${position}${generated ? ", generated" : ""}: ${tokensOver(lenses, column)}`;
  const kind = `head position${generated ? " generated" : ""}`;
  return make("div", { class: kind, role, title }, make("i", {}, String(position)), make("bdi", {}, head));
}

/** What stands over a column: a character at the first of its tokens, else the token; both where two lenses differ. */
const headsOver = (lenses, column) => [...new Set(lenses.map((lens) => lens.characters[column]?.head ?? lens.tokens[column]))].join(" | ");

/** The token of a column with the character that it is a part of, or both where two lenses differ in it. */
export const tokensOver = (lenses, column) => [...new Set(lenses.map((lens) => tokenOf(lens, column)))].join(" | ");

function tokenOf(lens, column) {
  const whole = lens.characters[column]?.whole;
  return whole ? `${lens.tokens[column]}, part of ${whole}` : lens.tokens[column];
}

/** A cell, from what `contentOf` says of it. */
export function cellElement(lens, row, column, { text, p, m, mark, none }) {
  const style = { "--p": p, "--m": m, ...(mark ? { "--pin": mark.colour } : {}) };
  const kind = ["cell", mark && (mark.rank === 1 ? "leads" : "follows"), none && "none"].filter(Boolean).join(" ");
  const named = { "data-layer": lens.layers[row], "data-position": lens.positions[column], "data-pin": mark?.shape };
  const cell = make("div", { class: kind, role: "gridcell", tabindex: "-1", style, ...named }, text);
  return Object.assign(cell, { place: [row, column] });
}
