// From which positions the attention of a cell's block takes: shares of a whole, decoded when they are asked for.

import { isAbsent } from "./data.js";

const CODE = 255; // see show/attention_payload.py

/** The block of a row of an attention head; of any other row, its label. */
const blockOfRow = (layer) => layer.replace(/\.(h\d+|bias)$/, "");

/** How many heads of a row's block are known; 0 if only their mean is, or nothing. */
export const headsKnown = (lens, row) => lens.attention?.heads[lens.attention.layers.indexOf(blockOfRow(lens.layers[row]))] ?? 0;

/** The share of each position of the text in what a cell's block takes, of one head or the mean (-1); null if it is not known. */
export function sharesOf(lens, row, column, head = -1) {
  const own = lens.original ?? lens;
  const { layers = [], tokens, codes } = lens.attention ?? {};
  const layer = layers.indexOf(blockOfRow(lens.layers[row]));
  const place = isAbsent(lens, column) ? -1 : own.positions.indexOf(lens.positions[column]);
  if (layer < 0 || place < 0) return null;
  const known = headsKnown(lens, row);
  const axis = codes.length / (layers.length * own.columns * tokens.length);
  const heads = head >= 0 && head < known ? [head] : Array.from({ length: known || 1 }, (_, each) => each);
  const shares = new Float32Array(tokens.length);
  for (const each of heads) {
    const start = ((layer * axis + each) * own.columns + place) * tokens.length;
    for (let source = 0; source < tokens.length; source += 1) shares[source] += (codes[start + source] / CODE) ** 2 / heads.length;
  }
  return shares;
}

/** What a legend says of it. */
export function aboutAttention(lens) {
  if (!lens.attention) return [];
  if (!lens.attention.layers.length) return ["too many attention weights for this page: see lens.attention(layer, position)"];
  return ["shade and bar of a heading: the share of attention that it gets from the chosen layer and position"];
}
