import assert from "node:assert/strict";
import test from "node:test";

import { headsKnown, sharesOf } from "../../bauklens/viewer/attention.js";
import { padded } from "../../bauklens/viewer/padded.js";
import { small } from "./made.mjs";

const code = (share) => Math.round(255 * Math.sqrt(share));
const shares = (...given) => [...(sharesOf(...given) ?? [])].map((share) => Math.round(100 * share));

test("the mean over heads of a block, and nothing of a row without attention", () => {
  const codes = Uint8Array.of(...[1, 0, 0.25, 0.75, 1, 0, 0.5, 0.5].map(code));
  const lens = small({ attention: { layers: ["0", "1"], heads: [], tokens: ["a", "b"], codes } });
  assert.deepEqual([shares(lens, 1, 1), shares(lens, 2, 1), shares(lens, 0, 1)], [[25, 75], [50, 50], []]);
  assert.equal(headsKnown(lens, 1), 0);
  assert.deepEqual(shares(lens, 1, 1, 3), [25, 75]);
  assert.equal(sharesOf(small(), 1, 1), null);
});

test("each head, also of a block with fewer, and in a table with gaps", () => {
  const codes = Uint8Array.of(...[1, 0, 0.36, 0.64, 1, 0, 0.64, 0.36, 1, 0, 0.25, 0.75, 0, 0, 0, 0].map(code));
  const lens = small({ attention: { layers: ["0", "1"], heads: [2, 1], tokens: ["a", "b"], codes }, axis: [0, 5, 1], linked: [0, 1] });
  assert.deepEqual([shares(lens, 1, 1), shares(lens, 1, 1, 1), shares(lens, 2, 1), shares(lens, 2, 1, 1)], [[50, 50], [64, 36], [25, 75], [25, 75]]);
  const gap = padded(Object.freeze(lens));
  assert.deepEqual([shares(gap, 1, 2, 0), shares(gap, 1, 1, 0)], [[36, 64], []]);
});
