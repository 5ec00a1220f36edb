// Columns that only one of two compared texts has: the other lens has an empty column there.

import { columnsOf } from "./bands.js";

/** A lens with all columns of the two that are compared; itself, if it has them all. `original` is the lens as it was. */
export function padded(lens) {
  if (!lens.axis?.length) return lens;
  const from = lens.axis.map((name) => lens.linked.indexOf(name)); // column -> that of the lens; -1 if it has none
  const heads = (values, none) => from.map((column) => (column < 0 ? none : values[column]));
  const placeOf = (column) => from.indexOf(column);
  const spread = (values, none, size = 1) => values && spreadOut(values, from, lens, none, size);
  const each = (values) => Object.fromEntries(Object.entries(values).map(([name, some]) => [name, spread(some, NaN)]));
  const nothing = lens.texts.length; // a token that no cell of the lens has
  return Object.freeze({
    ...lens,
    original: lens,
    columns: from.length,
    absent: new Set(from.flatMap((column, place) => (column < 0 ? [place] : []))),
    linked: lens.axis,
    positions: heads(lens.positions, "–"),
    tokens: heads(lens.tokens, ""),
    plainTokens: heads(lens.plainTokens, ""),
    labels: lens.labels.length ? heads(lens.labels, "") : [],
    characters: Object.fromEntries(Object.entries(lens.characters).map(([column, text]) => [placeOf(Number(column)), text])),
    bands: lens.bands.filter((band) => columnsOf(band).every((column) => placeOf(column) - placeOf(band.first) === column - band.first)).map((band) => ({ ...band, first: placeOf(band.first), last: placeOf(band.last) })),
    texts: [...lens.texts, ""],
    shown: [...lens.shown, ""],
    keys: [...lens.keys, null],
    top: spread(Uint32Array.from(lens.top), nothing, lens.topk),
    probability: spread(lens.probability, 0, lens.topk),
    values: each(lens.values),
    between: each(lens.between),
    targets: lens.targets.map((target) => spreadTarget(target, spread)),
    joint: new Map([...lens.joint].map(([token, target]) => [token, spreadTarget(target, spread)])),
    tracked: lens.tracked && { ...lens.tracked, sure: spread(lens.tracked.sure, 0), of: (token) => each(lens.tracked.of(token)) },
  });
}

const spreadTarget = (target, spread) => ({ ...target, ...Object.fromEntries(["probability", "rank", "logit"].map((part) => [part, spread(target[part], NaN)])) });

/** Values over (layer, column, size), with `none` in the columns that the lens does not have. */
function spreadOut(values, from, { rows, columns }, none, size) {
  const wide = new values.constructor(rows * from.length * size).fill(none);
  for (let row = 0; row < rows; row += 1) {
    from.forEach((column, place) => {
      const start = (row * columns + column) * size;
      if (column >= 0) wide.set(values.subarray(start, start + size), (row * from.length + place) * size);
    });
  }
  return wide;
}
