// Lenses made by hand, as `unpack` returns them.

import { named } from "../../bauklens/viewer/targets.js";

/** A lens of some tokens in every cell: `top[row][column]` are places among the texts, `probability` likewise. */
export function made(top, probability, changes = {}) {
  const texts = changes.texts ?? ["a", " b", " ", "long word", "same", "same"];
  const ids = changes.ids === undefined ? texts.map((_, place) => 10 + place) : changes.ids;
  const [rows, columns, topk] = [top.length, top[0].length, top[0][0].length];
  const magnitude = Float32Array.from({ length: rows * columns }, (_, cell) => cell + 1);
  return {
    name: "made",
    caption: "made",
    prompt: "a b",
    model: "tiny",
    stream: "hidden",
    decoder: "logit",
    unmapped: [],
    quality: {},
    layers: ["embed", ...Array.from({ length: rows - 1 }, (_, row) => String(row))],
    positions: Array.from({ length: columns }, (_, column) => column),
    tokens: Array.from({ length: columns }, (_, column) => `t${column}`),
    characters: {},
    plainTokens: Array.from({ length: columns }, (_, column) => `t${column}`),
    linked: Array.from({ length: columns }, (_, column) => column),
    labels: [],
    bands: [],
    pictures: [],
    predicts: "tokens",
    paired: true,
    generatedFrom: null,
    largestMagnitude: rows * columns,
    topk,
    rows,
    columns,
    measures: { magnitude: { name: "magnitude", unit: "", about: "length" } },
    plain: { token_ids: Array.from({ length: columns }, (_, column) => 100 + column) },
    targets: [],
    between: {},
    values: { magnitude },
    top: Uint16Array.from(top.flat(2)),
    probability: Float32Array.from(probability.flat(2)),
    ...changes,
    ...named({ texts, ids, shown: texts.map((text) => text.replaceAll(" ", "␣")) }, changes.targets ?? []),
  };
}

/** Three layers, two positions, top two: token 1 takes the lead at position 1 from layer 0 on. */
export const small = (changes) =>
  made(
    [
      [[0, 1], [0, 2]],
      [[0, 2], [1, 0]],
      [[2, 0], [1, 3]],
    ],
    [
      [[0.5, 0.25], [0.75, 0.125]],
      [[0.5, 0.25], [0.5, 0.25]],
      [[0.5, 0.25], [0.9375, 0.03125]],
    ],
    changes,
  );
