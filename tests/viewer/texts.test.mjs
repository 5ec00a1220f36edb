import assert from "node:assert/strict";
import test from "node:test";

import { colours } from "../../bauklens/viewer/colour.js";
import { probabilityText, range, shortest, valueText, wrapped } from "../../bauklens/viewer/numbers.js";
import { escaped } from "../../bauklens/viewer/picture.js";
import { cell, csv, json, markdown, table, tsv } from "../../bauklens/viewer/texts.js";
import { small } from "./made.mjs";

test("numbers as a person reads them", () => {
  assert.deepEqual([0.7034, 0.00002, 0, NaN].map(probabilityText), ["0.703", "2e-5", "0.000", "–"]);
  assert.deepEqual([786.23, 23849.7, 0.25, NaN, Infinity, 1e-7, -12].map(valueText), ["786.2", "23,850", "0.25", "–", "∞", "1e-7", "-12"]);
  assert.deepEqual([range([NaN, 3, -1, Infinity]), range([NaN])], [[-1, 3], [0, 0]]);
});

test("a float32 is written as the shortest number that reads back as the same", () => {
  for (const value of [0.1, 1 / 3, 123456.789, 3e-41, 0.7034]) {
    assert.equal(Math.fround(shortest(Math.fround(value))), Math.fround(value));
  }
  assert.equal(shortest(Math.fround(0.1)), 0.1);
});

test("tables to copy", () => {
  assert.equal(tsv(table([small()])).split("\n")[1], "embed\ta\ta");
  assert.equal(tsv(cell([small()], 1, 1)), "layer 0, position 1: t1\tprobability\n␣b\t0.500\na\t0.250");
  assert.equal(tsv([["a\tb\nc"]]), "a b c");
  const lines = markdown([["x|y", "`<b>`"], ["1", "2"]]).split("\n");
  assert.deepEqual(lines, ["| x\\|y | \\`\\<b\\>\\` |", "| --- | --- |", "| 1 | 2 |"]);
});

test("CSV has a line for each layer, position and rank, and quotes what needs it", () => {
  const lens = small({ texts: ['a"b', " b,\n", " ", "d", "e", "f"] });
  const lines = csv(lens);
  assert.match(lines, /^layer,position,token,generated,rank,predicted,probability,magnitude,token_id,predicted_id,decoder\r\n/);
  assert.match(lines, /embed,0,t0,False,1,"a""b",0\.5,1,100,10,logit\r\nembed,0,t0,False,2," b,\n",0\.25,1,100,11,logit\r\n/);
  assert.equal(lines.split("\r\n").length, 1 + 12 + 1);
});

test("CSV calls a target what to_frame() calls it", () => {
  const numbers = new Float32Array(6);
  const target = (id) => ({ text: "b", name: `b [${id}]`, tokens: [id], probability: numbers, logit: numbers, rank: numbers });
  const [heads] = csv(small({ targets: [target(11), target(12)] })).split("\r\n");
  assert.match(heads, /,probability of b \[11\],logit of b \[11\],rank of b \[11\],probability of b \[12\],/);
});

test("no text of CSV or TSV is a formula to a spreadsheet, and each can be read back", () => {
  const texts = ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\r=x", "'=x", "'s", "plain"];
  const lines = tsv(texts.map((text) => [text])).split("\n");
  assert.deepEqual(lines, ["'=1+1", "'+1", "'-x", "'@SUM(A1)", "' x", "' =x", "''=x", "'s", "plain"]);
  const lens = small({ texts: ["=1+1", "-2", "@a", "d", "e", "f"], layers: ["-1", "0", "1"] });
  const told = csv(lens);
  assert.match(told, /^'-1,0,t0,False,1,'=1\+1,0\.5,1,100,10,logit\r$/m);
  assert.match(told, /,'-2,/);
  assert.equal(told.match(/(^|,)[=+@-]/m), null);
});

test("a measure called like a column is told apart from it, and one called like a colour is not among them", () => {
  const names = ["token", "both", "constructor"];
  const measures = Object.fromEntries(names.map((name) => [name, { name, unit: "", about: "" }]));
  const values = Object.fromEntries(names.map((name) => [name, new Float32Array(6).fill(-1)]));
  const lens = small({ measures, values });
  const [heads, first] = csv(lens).split("\r\n");
  assert.match(heads, /,predicted_id,decoder,measure token,both,constructor$/);
  assert.match(first, /,logit,-1,-1,-1$/);
  const offered = colours(lens, { show: "0", pin: null }).map(([value]) => value);
  assert.deepEqual(offered, ["both", "classic", "probability", "constructor"]);
});

test("JSON is that of LensResult.to_dict()", () => {
  const target = {
    text: " b", tokens: [11], part: "token", note: "",
    probability: new Float32Array(6).fill(0.5), logit: new Float32Array(6).fill(NaN), rank: new Float32Array(6).fill(Infinity),
  };
  const lens = small({ plain: { format: "bauklens.lens", version: 1 }, targets: [target] });
  const told = JSON.parse(json(lens));
  assert.equal(told.format, "bauklens.lens");
  assert.deepEqual(told.top_ids[1], [[10, 12], [11, 10]]);
  assert.deepEqual(told.top_probs[2][1], [0.9375, 0.03125]);
  assert.deepEqual(told.magnitude, [[1, 2], [3, 4], [5, 6]]);
  assert.equal(told.vocabulary["11"], " b");
  assert.deepEqual([told.targets[0].logit[0][0], told.targets[0].rank[0][0]], [null, "Infinity"]);
});

test("JSON of a top 1 keeps its three axes", () => {
  const lens = small({ plain: {}, topk: 1, top: Uint16Array.from([0, 1, 2, 0, 1, 2]), probability: new Float32Array(6).fill(0.5) });
  const told = JSON.parse(json(lens));
  assert.deepEqual([told.top_ids[0], told.top_probs[0]], [[[10], [11]], [[0.5], [0.5]]]);
});

test("nothing of a text is markup in a picture", () => {
  assert.equal(escaped(`<b>&"\u0000\u001bx`), "&lt;b&gt;&amp;&quot;x");
});

test("of two lenses both tokens stand in the table where they differ", () => {
  const other = small({ tokens: ["t0", "u1"] });
  const rows = table([small(), other]);
  assert.deepEqual(rows[0], ["layer", "0 t0", "1 t1 | u1"]);
  assert.equal(cell([small(), other], 1, 1).length, 2 * cell([small()], 1, 1).length);
});

test("a text is wrapped at its spaces, and what is longer than a line stands alone", () => {
  assert.deepEqual(wrapped("one two three", 7), ["one two", "three"]);
  assert.deepEqual(wrapped("a-long-word b", 4), ["a-long-word", "b"]);
});
