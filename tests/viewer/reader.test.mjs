import assert from "node:assert/strict";
import test from "node:test";

import { contentOf } from "../../bauklens/viewer/content.js";
import { meaningOf } from "../../bauklens/viewer/cellmeasures.js";
import { readLines, readTokens } from "../../bauklens/viewer/readlines.js";
import { changed, opened, restored } from "../../bauklens/viewer/state.js";
import { isLeftOut, isSpaced, isWordLike } from "../../bauklens/viewer/wordlike.js";
import { made, small } from "./made.mjs";

test("words are what begins where a word does", () => {
  for (const text of [" Paris", "Paris", " a", " it’s", " co-op", " 42", "1999", " élan", "▁the", "東京", "ประเทศ", " naïve"]) assert.ok(isWordLike(text), text);
  for (const text of ["", " ", "\n", ".", " .", " (", "ing", "'s", "the.", "�", "<0xA5>", "⟨A5⟩", "##ing", "  x", " a b", "\u0301"]) assert.ok(!isWordLike(text), text);
});

test("a tokenizer that writes no spaces has words without them", () => {
  const plain = made([[[0]]], [[[1]]], { texts: ["paris", "##ing", "."] });
  assert.ok(!isSpaced(plain));
  assert.deepEqual([0, 1, 2].map((token) => isLeftOut(plain, token, { wordsOnly: true })), [false, true, true]);
  assert.ok(isSpaced(small()));
});

test("labels are never left out", () => {
  const lens = made([[[0]]], [[[1]]], { texts: [" x", "not_bad!"], predicts: "labels" });
  assert.ok(!isLeftOut(lens, 1, { wordsOnly: true }));
});

test("the reader has a line for each layer, as the table lies, or for each position", () => {
  const lens = small();
  const state = (changes) => changed(opened([lens]), { panel: "layers", ...changes });
  assert.deepEqual(readLines(lens, state(), 2, 1).map(({ row, column, label }) => [row, column, ...label]), [[0, 1, "embed"], [1, 1, "0"], [2, 1, "1"]]);
  assert.deepEqual(readLines(lens, state({ bottomUp: true, stride: 2 }), 2, 1).map(({ row }) => row), [2, 1, 0]);
  assert.deepEqual(readLines(lens, state({ panel: "positions" }), 2, 1).map(({ row, column, label }) => [row, column, ...label]), [[2, 0, "0", "t0"], [2, 1, "1", "t1"]]);
  assert.deepEqual(readLines({ ...lens, absent: new Set([0]) }, state({ panel: "positions" }), 2, 1).map(({ column }) => column), [1]);
});

test("of words only, others are left out, and each keeps its rank", () => {
  const lens = small();
  const line = { row: 1, column: 0 };
  assert.deepEqual(readTokens(lens, opened([lens]), line), [{ token: 0, rank: 1, probability: 0.5 }, { token: 2, rank: 2, probability: 0.25 }]);
  const words = readTokens(lens, changed(opened([lens]), { wordsOnly: true }), { row: 2, column: 1 });
  assert.deepEqual(words, [{ token: 1, rank: 1, probability: 0.9375 }]); // "long word" has a space within
  assert.equal(contentOf([lens], changed(opened([lens]), { wordsOnly: true })).of(2, 0).text, "·");
  assert.equal(contentOf([lens], changed(opened([lens]), { wordsOnly: true })).of(2, 1).text, "␣b");
});

test("what a measure means has its unit", () => {
  assert.equal(meaningOf("nats", "how spread out"), "how spread out (nats)");
  assert.equal(meaningOf("0..1", "a part"), "a part (from 0 to 1)");
  assert.equal(meaningOf("", "the norm"), "the norm (no unit)");
});

test("of the reader's state only what makes sense is believed", () => {
  assert.deepEqual(restored({ panel: "positions", wordsOnly: true }, [small()]), { panel: "positions", wordsOnly: true });
  assert.deepEqual(restored({ panel: "everything", wordsOnly: "yes" }, [small()]), {});
});
