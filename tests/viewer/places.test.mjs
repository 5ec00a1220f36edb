import assert from "node:assert/strict";
import test from "node:test";

import { axesOf, chosenIn, holds, settled, strided } from "../../bauklens/viewer/axes.js";
import { moved } from "../../bauklens/viewer/keys.js";
import { leaders } from "../../bauklens/viewer/pins.js";
import { opened } from "../../bauklens/viewer/state.js";
import { inSight } from "../../bauklens/viewer/window.js";
import { made, small } from "./made.mjs";
import { decidedAt, jumpsOf, nextOf, surprising } from "../../bauklens/viewer/jumps.js";
import { scaleOf } from "../../bauklens/viewer/scale.js";

const state = (changes) => ({ ...opened([small()]), ...changes });

test("every so many layers, and always the last", () => {
  assert.deepEqual(strided(7, 3), [0, 3, 6]);
  assert.deepEqual(strided(8, 3), [1, 4, 7]);
  assert.deepEqual(strided(2, 5), [1]);
});

test("layers down, layers up, layers across", () => {
  const lens = small();
  const plain = axesOf(lens, state());
  assert.deepEqual([plain.down, plain.across], [[0, 1, 2], [0, 1]]);
  assert.deepEqual(plain.cell(2, 1), [2, 1]);
  const up = axesOf(lens, state({ bottomUp: true }));
  assert.deepEqual(up.cell(0, 1), [2, 1]);
  assert.deepEqual(up.place(2, 1), [0, 1]);
  const across = axesOf(lens, state({ layersAcross: true }));
  assert.deepEqual([across.down, across.across], [[0, 1], [0, 1, 2]]);
  assert.deepEqual(across.cell(1, 2), [2, 1]);
  assert.deepEqual(across.place(2, 1), [1, 2]);
});

test("a layer that the stride leaves out is shown by the nearest", () => {
  assert.deepEqual(axesOf(small(), state({ stride: 2 })).place(1, 0), [0, 0]);
});

test("the chosen cell in a lens that has no such place is none of its own", () => {
  assert.deepEqual(chosenIn(small(), state({ layer: "1", position: 0 })), [2, 0]);
  assert.deepEqual(chosenIn(small(), state({ layer: "77", position: 99 })), [0, 1]);
  assert.ok(holds(small(), state({ layer: "1", position: 0 })));
  assert.ok(!holds(small(), state({ layer: "77", position: 0 })));
});

test("a layer that is not shown gives the choice to the nearest that is", () => {
  const { layer, position } = settled(small(), state({ layer: "0", position: 0, stride: 2 }));
  assert.deepEqual([layer, position], ["embed", 0]);
  assert.equal(settled(small(), state({ layer: "99" })).layer, "embed");
});

test("partners of a comparison are linked by their column", () => {
  assert.deepEqual(chosenIn(small({ positions: [1, 2], linked: [0, 1] }), state({ layer: "0", position: 1 })), [1, 1]);
});

test("what leads in some layer is followed, in the order in which it comes to lead", () => {
  const { found, all } = leaders(small(), 1);
  assert.deepEqual(found.map(({ token, key, shape }) => [token, key, shape]), [[0, 10, "●"], [1, 11, "▲"]]);
  assert.equal(all, 2);
});

test("of many that lead, the last layer's and those with the most probability", () => {
  const lens = made([0, 1, 2, 1, 3].map((token) => [[token]]), [0.5, 0.25, 0.5, 0.5, 0.125].map((each) => [[each]]));
  assert.deepEqual(leaders(lens, 0, 2).found.map(({ token }) => token), [1, 3]);
  assert.deepEqual(leaders(lens, 0, 3).found.map(({ token }) => token), [1, 2, 3]); // of two alike, the later one
  assert.equal(leaders(lens, 0, 3).all, 4);
});

test("what is in sight, and one place that always is", () => {
  assert.deepEqual(inSight(0, 44, 22, 100, 2), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(inSight(2200, 22, 22, 200, 0), [97, 98, 99, 100, 101, 102, 103, 104, 0]);
  assert.deepEqual(inSight(0, -5, 22, 1, 0), [0]);
});

test("keys go somewhere in the table, and never out of it", () => {
  const axes = { down: [0, 1, 2], across: [0, 1] };
  const go = (key, from, more = {}) => moved({ key, ...more }, axes, from, 2);
  assert.deepEqual(go("ArrowUp", [0, 0]), [0, 0]);
  assert.deepEqual(go("ArrowDown", [0, 0]), [1, 0]);
  assert.deepEqual(go("ArrowRight", [0, 1]), [0, 1]);
  assert.deepEqual(go("ArrowDown", [0, 0], { ctrlKey: true }), [2, 0]);
  assert.deepEqual(go("Home", [2, 1]), [2, 0]);
  assert.deepEqual(go("Home", [2, 1], { ctrlKey: true }), [0, 0]);
  assert.deepEqual(go("End", [0, 0], { ctrlKey: true }), [2, 1]);
  assert.deepEqual(go("PageDown", [0, 0]), [2, 0]);
  assert.deepEqual(go("PageUp", [2, 0]), [0, 0]);
  assert.equal(go("a", [0, 0]), null);
  assert.equal(go("ArrowUp", [0, 0], { altKey: true }), null);
});

test("a scale is not decided by a few odd cells", () => {
  const lens = { layers: ["0", "1"], rows: 2, columns: 200, positions: Array.from({ length: 200 }, (_, place) => place) };
  const values = Float32Array.from({ length: 400 }, (_, cell) => (cell === 77 ? 900 : cell % 7));
  assert.deepEqual(scaleOf(lens, values), { low: 0, high: 6, beyond: ["a few cells up to 900"] });
  const signed = values.map((value, cell) => (cell === 78 ? -500 : 3 - value));
  assert.deepEqual([scaleOf(lens, signed).low, scaleOf(lens, signed).high], [-3, 3]);
  const nothing = new Float32Array(400).fill(NaN);
  assert.deepEqual(scaleOf(lens, nothing), { low: 0, high: 0, beyond: [] });
});

test("the next surprise is one of the tenth of the positions with the largest values", () => {
  const surprisal = Float32Array.from({ length: 60 }, (_, cell) => (cell >= 40 ? { 40: 99, 47: 8, 52: 9 }[cell] ?? 1 : 50));
  const top = Array.from({ length: 3 }, (_, row) => Array.from({ length: 20 }, (_, column) => [row === 2 || column !== 6 ? 0 : 1]));
  const lens = made(top, top, { values: { surprisal, entropy: surprisal } });
  assert.deepEqual(surprising(lens, "surprisal"), [7, 12]); // position 0 is none
  assert.deepEqual([nextOf([7, 12], 7, true), nextOf([7, 12], 12, true), nextOf([7, 12], 12, false)], [12, null, 7]);
  assert.equal(decidedAt(lens, 6), 2);
  assert.equal(decidedAt(lens, 5), 0);
  assert.ok(surprising(lens, "decided").includes(6));
  assert.deepEqual(jumpsOf({ values: {} }).map(([name]) => name), ["decided"]);
});
