import assert from "node:assert/strict";
import test from "node:test";

import { announced } from "../../bauklens/viewer/announced.js";
import { small } from "./made.mjs";

test("a cell is announced by its token and its probability", () => {
  assert.equal(announced([small()], 0, 1, { text: "a", mark: null }), "a, 0.750");
  assert.equal(announced([small()], 1, 1, { text: "␣b", mark: { shape: "▲" } }), "␣b, 0.500; pinned ▲");
  assert.equal(announced([small()], 0, 1, { text: "a", mark: null, edited: true }), "a, 0.750; edited");
  assert.equal(announced([small()], 2, 0, { text: "·", mark: null }), "·; ␣, 0.500");
});

test("what two lenses say in a cell, and a row that one of them has only", () => {
  const other = small({ layers: ["0", "1", "2"], name: "other" });
  assert.equal(announced([small(), other], 1, 1, { text: "␣b | a", mark: null }), "␣b | a, 0.500 | 0.750");
  assert.equal(announced([small(), other], 2, 1, { text: "3 | 1", mark: null }), "3 | 1; ␣b, 0.938 | 0.500");
  assert.equal(announced([small(), other], 0, 0, { text: "a", mark: null }), "a, 0.500");
});
