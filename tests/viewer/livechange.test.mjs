import assert from "node:assert/strict";
import test from "node:test";

import { suggested } from "../../bauklens/viewer/livechange.js";

const LAYERS = Array.from({ length: 30 }, (_, layer) => String(layer));

test("a change begins at the layer of its cell and leaves out the last third", () => {
  assert.deepEqual(suggested(LAYERS, "12"), [12, 20]);
  assert.deepEqual(suggested(LAYERS, "20"), [20, 20]);
});

test("a change of a cell in the last third, or in a row without a map, is of the middle third", () => {
  assert.deepEqual(suggested(LAYERS, "29"), [10, 20]);
  assert.deepEqual(suggested(LAYERS, "embed"), [10, 20]);
});

test("there may be few layers", () => {
  assert.deepEqual(suggested(["4"], "4"), [0, 0]);
  assert.deepEqual(suggested(["0", "1"], "1"), [1, 1]);
});
