// The difference of two pins in what layers add to the stream, and what it adds up to.

import { cellOf, rowOf } from "./data.js";
import { placeIn } from "./groups.js";
import { differenceAt, signed } from "./measured.js";

const ADDED = ["delta", "attention", "mlp"]; // streams of what is added
const CLOSE = 0.05; // of the largest value: two sums that differ by less are one, as tracked values have three digits

const isAdded = (lens) => ADDED.includes(lens.stream) && lens.plain.norm === "final";

/** The difference of two pins along some cells of a lens; null where it lacks one. */
export function apartAt(lens, [one, other], cells) {
  const [first, second] = [placeIn(lens, one), placeIn(lens, other)];
  return first === undefined || second === undefined ? null : differenceAt(lens, [first, second], cells);
}

/**
 * What layers add to a difference at a column, for a lens of additions through the norm of the last layer; null for others.
 *
 * Attention and MLP are taken together if both are there. The sum begins with the embedding, if there is a lens of the
 * stream itself through the same norm.
 *
 * @returns `{ parts: [{ name, values }], sum, total, start, last, streams }` by the lens's own rows; `start` and `last`
 *     are NaN if they are not known.
 */
export function addedUpTo(lenses, lens, keys, column) {
  if (!isAdded(lens)) return null;
  const isSame = (each) => each.model === lens.model && each.decoder === lens.decoder && each.plain.norm === "final" && String(each.linked) === String(lens.linked);
  const isPart = (each) => isSame(each) && each.stream !== "delta" && isAdded(each) && String(each.layers) === String(lens.layers);
  const halves = ADDED.slice(1).flatMap((stream) => lenses.filter((each) => isPart(each) && each.stream === stream).slice(0, 1));
  const parts = (lens.stream === "delta" ? [lens] : halves.length === 2 ? halves : [lens]).map((each) => ({
    name: each.stream,
    values: apartAt(each, keys, columnCells(each, column)),
  }));
  if (parts.some(({ values }) => values === null)) return null;
  const whole = lenses.find((each) => isSame(each) && each.stream === "hidden");
  const state = whole && apartAt(whole, keys, columnCells(whole, column));
  const start = state ? (state[rowOf(whole, "embed")] ?? NaN) : NaN;
  let total = Number.isNaN(start) ? 0 : start;
  const sum = lens.layers.map((_, row) => (total += parts.reduce((added, { values }) => added + values[row], 0)));
  return { parts, sum, total, start, last: state?.at(-1) ?? NaN, streams: parts.map(({ name }) => name) };
}

const columnCells = (lens, column) => Array.from({ length: lens.rows }, (_, row) => cellOf(lens, row, column));

/** A sentence on what they add up to. */
export function aboutSum({ total, start, last, streams }) {
  const what = streams.length === 2 ? "Attention and MLP" : { delta: "The layers", attention: "Attention", mlp: "The MLPs" }[streams[0]];
  if (!Number.isFinite(total)) return "Their sum is not known in every layer; that of targets is.";
  if (Number.isNaN(start)) return `${what} add up to ${signed(total)}, without the embedding: for a sum that begins with it, show a result of stream="hidden", norm="final" with this one.`.replace("Attention add ", "Attention adds ");
  const begins = `From ${signed(start)} of the embedding, ${what.toLowerCase().replace("mlp", "MLP")} lead to ${signed(total)}`.replace(", attention lead", ", attention leads");
  const isWhole = Math.abs(total - last) <= CLOSE * Math.max(1, Math.abs(total), Math.abs(last));
  return isWhole ? `${begins}, the difference in the last layer.` : `${begins}; in the last layer it is ${signed(last)}, because other parts add to it too.`;
}
