import assert from "node:assert/strict";
import test from "node:test";
import { deflateSync } from "node:zlib";

import { cellOf, keyOf, probabilityAt, rankAt, tokenAt, unpack } from "../../bauklens/viewer/data.js";
import { followed, isKnown, valuesIn } from "../../bauklens/viewer/follow.js";
import { halfOf, trackedOf } from "../../bauklens/viewer/tracked.js";
import { opened } from "../../bauklens/viewer/state.js";
import { placeOfTarget } from "../../bauklens/viewer/targets.js";
import { siblings } from "../../bauklens/viewer/siblings.js";
import { small } from "./made.mjs";

const HEAD = { layers: ["0"], positions: [0, 1], topk: 1, measures: ["entropy", "top"].map((name) => ({ name })), targets: [], between: [] };

function given(packed) {
  const vocabulary = Buffer.from(JSON.stringify({ ids: [7, 8], texts: ["a", " b"], shown: { 1: "␣b" } }));
  const numbers = [Uint16Array.of(1, 0), Float32Array.of(0.5, 0.25), Float32Array.of(NaN, Infinity), Float32Array.of(7, 8)];
  const bytes = numbers.map((each) => {
    const plain = Buffer.from(each.buffer);
    const size = each.BYTES_PER_ELEMENT;
    const planes = Array.from({ length: size }, (_, byte) => [...plain].filter((_, place) => place % size === byte));
    return packed ? Buffer.from(planes.flat()) : plain;
  });
  const block = Buffer.concat([vocabulary, ...bytes]);
  const arrays = [
    { name: "vocabulary", kind: "json", count: vocabulary.length },
    { name: "top", kind: "uint16", count: 2 },
    { name: "probability", kind: "float32", count: 2 },
    { name: "measure entropy", kind: "float32", count: 2 },
    { name: "measure top", kind: "float32", count: 2 },
  ];
  return { head: HEAD, arrays, packed, blob: (packed ? deflateSync(block) : block).toString("base64") };
}

for (const packed of [false, true]) {
  test(`a block is unpacked, packed: ${packed}`, async () => {
    const lens = await unpack(given(packed));
    assert.deepEqual([...lens.top], [1, 0]);
    assert.deepEqual([...lens.probability], [0.5, 0.25]);
    assert.deepEqual([...lens.values.entropy], [NaN, Infinity]);
    assert.deepEqual([...lens.values.top], [7, 8]); // a measure may be called like what every lens has
    assert.deepEqual(lens.shown, ["a", "␣b"]);
    assert.equal(lens.places.get(8), 1);
    assert.equal(lens.columns, 2);
  });
}

test("a set has a name, a place and a key like a token, and its values everywhere", () => {
  const set = { name: "en", shown: "en", part: "set", tokens: [11], probability: Float32Array.of(1, 2, 3, 4, 5, 6), rank: Float32Array.of(1, 2, 3, 4, NaN, 1) };
  const word = { ...set, name: "de", part: "whole", tokens: [10, 11], rank: new Float32Array(6).fill(NaN) };
  const lens = small({ targets: [set, word] });
  const [place, other] = lens.targets.map((target) => placeOfTarget(lens, target));
  assert.deepEqual([place, lens.texts[place], lens.places.get(keyOf(lens, place))], [6, "en", 6]);
  assert.deepEqual([0, 1, 2, 3, 4, 5].map((cell) => rankAt(lens, cell, place)), [1, 2, 0, 0, 0, 1]); // in the top 2 or not
  assert.equal(rankAt(lens, 0, other), 0);
  assert.equal(followed(lens, place).probability, set.probability);
  assert.deepEqual(valuesIn(lens, place, [1, 5], "rank"), [2, 1]);
  assert.equal(followed(lens, 1).source, "top"); // the token of a set of one is not followed itself
  assert.deepEqual(valuesIn(lens, 1, [0, 1, 5], "probability"), [0.25, NaN, 0.9375]);
  assert.equal(opened([lens]).pins.length, 2);
});

test("a cell's tokens and their ranks", () => {
  const lens = small();
  const cell = cellOf(lens, 1, 1);
  assert.deepEqual([tokenAt(lens, cell), tokenAt(lens, cell, 1)], [1, 0]);
  assert.equal(probabilityAt(lens, cell, 1), 0.25);
  assert.deepEqual([1, 0, 3].map((token) => rankAt(lens, cell, token)), [1, 2, 0]);
  assert.equal(keyOf(lens, 1), 11);
  assert.equal(keyOf(small({ ids: null }), 1), " b");
});

test("a token is followed where it is in the top k, and everywhere where it is a target", () => {
  const lens = small();
  assert.deepEqual([...followed(lens, 1).probability], [0.25, NaN, NaN, 0.5, NaN, 0.9375]);
  assert.deepEqual([...followed(lens, 1).rank], [2, NaN, NaN, 1, NaN, 1]);
  assert.equal(followed(lens, 1).source, "top");
  const target = { tokens: [11], probability: Float32Array.of(1, 2, 3, 4, 5, 6), rank: new Float32Array(6) };
  const found = followed(small({ targets: [target] }), 1);
  assert.equal(found.source, "target");
  assert.ok(Math.abs(found.logs[1] - Math.log(2)) < 1e-6);
  assert.equal(found.probability, target.probability);
});

test("a tracked token is known in every cell; in the top k as it is there", () => {
  const bits = Uint16Array.of(0xbc00, 0xbc00, 0xc000, 0xc400, 0xfc00, 0x8000); // -1, -1, -2, -4, -infinity, -0
  const ranks = Uint16Array.of(9, 9, 9, 9, 9, 9);
  const lens = small({ tracked: trackedOf({ places: [1], exact: 1, limit: 300 }, { logs: bits, ranks }, 3, 2) });
  const found = followed(lens, 1);
  assert.equal(found.source, "tracked");
  assert.ok(isKnown(lens, 1) && !isKnown(lens, 0));
  assert.deepEqual([...found.rank], [2, 9, 9, 1, 9, 1]);
  assert.deepEqual([...found.probability].map((each) => Number(each.toFixed(4))), [0.25, 0.3679, 0.1353, 0.5, 0, 0.9375]);
  assert.deepEqual(valuesIn(lens, 1, [4], "logs"), [-Infinity]);
});

test("of the last of very many tracked tokens only the ranks are known, roughly", () => {
  const lens = small({ tracked: trackedOf({ places: [3], exact: 0, limit: 300 }, { codes: Uint8Array.of(1, 28, 40, 16, 0, 5) }, 3, 2) }); // by position, and then by layer
  const found = followed(lens, 3);
  assert.equal(found.source, "coarse");
  assert.deepEqual([...found.rank], [1, 16, 32, NaN, 64, 2]); // in the last cell it is in the top 2
  assert.deepEqual([...found.probability], [NaN, NaN, NaN, NaN, NaN, 0.03125]);
});

test("the bits of half a float", () => {
  assert.deepEqual([0x3c00, 0xc940, 0x0001, 0x8400, 0x7c00].map(halfOf), [1, -10.5, 2 ** -24, -(2 ** -14), Infinity]);
  assert.ok(Number.isNaN(halfOf(0x7e00)));
});

test("lenses of other prompts are not drawn in one chart, and each is drawn by itself", () => {
  const [one, other] = ["a", "b"].map((prompt) => small({ prompt, paired: false, linked: [0, 1, 2] }));
  assert.deepEqual(siblings([one, other], other), [{ lens: other, dash: "" }]);
});
