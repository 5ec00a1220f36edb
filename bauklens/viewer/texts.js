// A lens as text to export: TSV, Markdown, CSV and JSON.

import { cellOf, isAbsent, probabilityAt, rowOf, tokenAt } from "./data.js";
import { nameOver } from "./heads.js";
import { probabilityText, shortest } from "./numbers.js";

/** The whole table, the most probable token a cell (of two lenses both, where they differ), as rows of texts. */
export function table(shown) {
  const lenses = shown.length === 1 ? shown.map((each) => each.original ?? each) : shown;
  const [lens] = lenses;
  const both = (of, column) => [...new Set(lenses.filter((each) => !isAbsent(each, column)).map(of))].join(" | ");
  const head = (_, column) => `${lenses.find((each) => !isAbsent(each, column)).positions[column]} ${both((each) => nameOver(each, column), column)}`;
  const top = (row, column) => {
    const places = placesOf(lenses, row).filter(([each]) => !isAbsent(each, column)).map(([each, there]) => each.shown[tokenAt(each, cellOf(each, there, column))]);
    return [...new Set(places)].join(" | ");
  };
  const rows = lens.layers.map((layer, row) => [layer, ...lens.tokens.map((_, column) => top(row, column))]);
  return [["layer", ...lens.tokens.map(head)], ...rows];
}

/** One cell's top k, of each lens, as rows of texts. */
export const cell = (lenses, row, column) => placesOf(lenses, row).filter(([lens]) => !isAbsent(lens, column)).flatMap(([lens, there]) => cellRows(lens, there, column));

/** The lenses that have the layer of a row of the first, each with its own row. */
const placesOf = (lenses, row) =>
  lenses.map((lens) => [lens, rowOf(lens, lenses[0].layers[row])]).filter(([, there]) => there >= 0);

function cellRows(lens, row, column) {
  const place = cellOf(lens, row, column);
  const heads = [`layer ${lens.layers[row]}, position ${lens.positions[column]}: ${nameOver(lens, column)}`, "probability"];
  const line = (rank) => [lens.shown[tokenAt(lens, place, rank)], probabilityText(probabilityAt(lens, place, rank))];
  return [heads, ...Array.from({ length: lens.topk }, (_, rank) => line(rank))];
}

/** A text that no spreadsheet takes for a formula: an apostrophe more before `=`, `+`, `-`, `@`, a tab or a return. */
const harmless = (text) => (/^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text);

export const tsv = (rows) =>
  rows.map((row) => row.map((each) => harmless(each).replace(/[\t\r\n]/g, " ")).join("\t")).join("\n");

export function markdown(rows) {
  const escaped = (text) => text.replace(/[\\|`*_<>[\]&$~]/g, "\\$&").replace(/[\r\n]/g, " ");
  const lines = rows.map((row) => `| ${row.map(escaped).join(" | ")} |`);
  lines.splice(1, 0, `|${" --- |".repeat(rows[0].length)}`);
  return lines.join("\n");
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Rows of texts and numbers as CSV. */
export const commas = (rows) =>
  `${rows.map((row) => row.map((each) => quoted(typeof each === "string" ? harmless(each) : String(each))).join(",")).join("\r\n")}\r\n`;

/** One line per layer, position and rank; columns as in `LensResult.to_frame()`. */
export function csv(lens) {
  const names = Object.keys(lens.measures).filter((name) => name !== "magnitude");
  const number = (value) => (Number.isNaN(value) || value === undefined ? "" : shortest(value));
  const parts = lens.targets.flatMap((target) => ["probability", "logit", "rank"].map((part) => [part, target]));
  const heads = ["layer", "position", "token", "generated", "rank", "predicted", "probability", "magnitude", "token_id"];
  const followed = parts.map(([part, { name }]) => `${part} of ${name}`);
  const own = lens.labels.length ? ["predicted_id", "decoder", "column"] : ["predicted_id", "decoder"];
  const called = names.map((name) => ([...heads, ...own].includes(name) ? `measure ${name}` : name));
  const lines = [[...heads, ...own, ...called, ...followed]];
  for (let row = 0; row < lens.rows; row += 1) {
    for (let column = 0; column < lens.columns; column += 1) {
      const place = cellOf(lens, row, column);
      const measures = names.map((name) => number(lens.values[name][place]));
      const targets = parts.map(([part, target]) => number(target[part][place]));
      const generated = lens.generatedFrom !== null && lens.positions[column] >= lens.generatedFrom ? "True" : "False";
      for (let rank = 0; rank < lens.topk; rank += 1) {
        const token = tokenAt(lens, place, rank);
        const first = [lens.layers[row], lens.positions[column], lens.plainTokens[column], generated, rank + 1, lens.texts[token]];
        const numbers = [number(probabilityAt(lens, place, rank)), number(lens.values.magnitude?.[place])];
        const ids = [lens.plain.token_ids[column], lens.ids?.[token] ?? "", lens.unmapped.includes(lens.layers[row]) ? "logit" : lens.decoder];
        if (lens.labels.length) ids.push(lens.plain.columns[column]);
        lines.push([...first, ...numbers, ...ids, ...measures, ...targets]);
      }
    }
  }
  return commas(lines);
}

/** The format of `LensResult.to_dict()`, which `LensResult.load()` reads. */
export function json(lens) {
  const each = (of) =>
    Array.from({ length: lens.rows }, (_, row) =>
      Array.from({ length: lens.columns }, (_, column) => of(cellOf(lens, row, column))),
    );
  const grid = (values) => each((cell) => plainNumber(values[cell]));
  const tops = (at) => each((cell) => Array.from({ length: lens.topk }, (_, rank) => at(lens, cell, rank)));
  const measures = Object.keys(lens.measures).filter((name) => name !== "magnitude");
  return JSON.stringify({
    ...lens.plain,
    top_ids: tops((...place) => lens.ids[tokenAt(...place)]),
    top_probs: tops((...place) => plainNumber(probabilityAt(...place))),
    magnitude: grid(lens.values.magnitude),
    vocabulary: Object.fromEntries(lens.ids.map((id, token) => [id, lens.texts[token]])),
    measures: Object.fromEntries(measures.map((name) => [name, grid(lens.values[name])])),
    pictures: lens.pictures.map(({ name, grid, positions, url }) => ({ name, grid, positions, image: url.replace(/^.*,/, "") })),
    tracked: lens.tracked?.file(lens.ids) ?? null,
    attended: null, // which a page holds roughly
    targets: lens.targets.map((target) => ({
      text: target.text,
      token_ids: target.tokens,
      part: target.part,
      note: target.note,
      probability: grid(target.probability),
      logit: grid(target.logit),
      rank: grid(target.rank),
    })),
  });
}

function plainNumber(value) {
  if (Number.isNaN(value)) return null;
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return Number.isInteger(value) ? value : shortest(value);
}
