import assert from "node:assert/strict";
import test from "node:test";

import { around } from "../../bauklens/viewer/around.js";

test("of many places those around the chosen one are taken", () => {
  assert.deepEqual(around(3, 10, 20), [0, 10]);
  assert.deepEqual(around(50, 100, 20), [40, 60]);
  assert.deepEqual(around(0, 100, 20), [0, 20]);
  assert.deepEqual(around(99, 100, 20), [80, 100]);
});
