// What the viewer is given -> lenses: typed arrays over (layer, position), or (layer, position, rank).

import { named } from "./targets.js";
import { trackedOf } from "./tracked.js";

const KINDS = { uint8: Uint8Array, float32: Float32Array, uint16: Uint16Array, uint32: Uint32Array };

/** The images of a figure, as `data:` addresses, by their numbers; anything else is left out. */
export function imagesOf(figure) {
  const images = {};
  for (const each of figure.querySelectorAll(":scope > .static img[data-image]")) {
    if (/^data:image\/(png|jpeg);base64,/.test(each.getAttribute("src"))) images[each.dataset.image] = each.getAttribute("src");
  }
  return images;
}

/** One lens from what `bauklens/show/payload.py` wrote; `images` are the addresses of those that its pictures name. */
export async function unpack(given, images = {}) {
  const bytes = given.packed ? await inflated(decoded(given.blob)) : decoded(given.blob);
  const parts = {};
  let start = 0;
  for (const { name, kind, count } of given.arrays) {
    const length = kind === "json" ? count : count * KINDS[kind].BYTES_PER_ELEMENT;
    const some = bytes.subarray(start, start + length);
    parts[name] = kind === "json" ? JSON.parse(new TextDecoder().decode(some)) : numbers(some, kind, given.packed);
    start += length;
  }
  return lensOf(given.head, parts, images);
}

function lensOf(head, parts, images) {
  const measures = Object.fromEntries(head.measures.map((each) => [each.name, each]));
  const targets = head.targets.map((each, place) => ({
    ...each,
    probability: parts[`target ${place} probability`],
    rank: parts[`target ${place} rank`],
    logit: parts[`target ${place} logit`],
  }));
  return Object.freeze({
    labels: [],
    bands: [],
    ...head,
    ...named(parts.vocabulary, targets),
    pictures: (head.pictures ?? []).map((picture) => ({ ...picture, url: images[picture.image] ?? "" })),
    measures,
    targets,
    tracked: trackedOf(head.tracked, { logs: parts["tracked logs"], ranks: parts["tracked ranks"], codes: parts["tracked codes"], sure: parts["tracked sure"] }, head.layers.length, head.positions.length),
    attention: head.attention ? { ...head.attention, codes: parts.attention } : null,
    top: parts.top,
    probability: parts.probability,
    values: Object.fromEntries(head.measures.map(({ name }) => [name, parts[`measure ${name}`]])),
    between: Object.fromEntries(head.between.map((name) => [name, parts[`between ${name}`]])),
    rows: head.layers.length,
    columns: head.positions.length,
  });
}

const Native = /** @type {any} */ (Uint8Array); // newer browsers read base64 themselves

function decoded(text) {
  if (Native.fromBase64) return Native.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let place = 0; place < bytes.length; place += 1) bytes[place] = characters.charCodeAt(place);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Packed numbers stand byte by byte: the first byte of all, then the second of all, ... */
function numbers(bytes, kind, packed) {
  const size = KINDS[kind].BYTES_PER_ELEMENT;
  if (size === 1) return bytes;
  const count = bytes.length / size;
  const whole = new Uint8Array(bytes.length);
  if (!packed) whole.set(bytes);
  for (let byte = 0; packed && byte < size; byte += 1) {
    for (let place = 0; place < count; place += 1) whole[place * size + byte] = bytes[byte * count + place];
  }
  return new KINDS[kind](whole.buffer);
}

export const cellOf = (lens, row, column) => row * lens.columns + column;

/** The cells of a row. */
export const cellsOf = (lens, row) => new Uint32Array(lens.columns).map((_, column) => cellOf(lens, row, column));

/** Whether a column is only in the other of two lenses that are compared. */
export const isAbsent = (lens, column) => lens.absent?.has(column) ?? false;

/** The measures of two lenses together by name, over the cells of the one. */
export const betweenOf = (one, other) =>
  Object.fromEntries(Object.entries(one.between).flatMap(([name, values]) => (name.startsWith(`${other.place} `) ? [[name.slice(name.indexOf(" ") + 1), values]] : [])));

/** The row of a layer; -1 where a lens has no such row. */
export const rowOf = (lens, layer) => lens.layers.indexOf(layer);

/** The cell's token of a rank from 0: its place among the lens's texts. */
export const tokenAt = (lens, cell, rank = 0) => lens.top[cell * lens.topk + rank];

export const probabilityAt = (lens, cell, rank = 0) => lens.probability[cell * lens.topk + rank];

/** What names a token in every lens: its id, or its text where a lens has no ids. */
export const keyOf = (lens, token) => lens.keys[token];

/** A token's rank from 1 in a cell's top k; 0 where it is not in it. A set's is that of its best member. */
export function rankAt(lens, cell, token) {
  if (lens.joint.has(token)) return lens.joint.get(token).rank[cell] <= lens.topk ? lens.joint.get(token).rank[cell] : 0;
  for (let rank = 0; rank < lens.topk; rank += 1) if (tokenAt(lens, cell, rank) === token) return rank + 1;
  return 0;
}
