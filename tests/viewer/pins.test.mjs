import assert from "node:assert/strict";
import test from "node:test";

import { bestCell } from "../../bauklens/viewer/best.js";
import { aboutSum, addedUpTo, apartAt } from "../../bauklens/viewer/contrast.js";
import { followed, sourceOf } from "../../bauklens/viewer/follow.js";
import { membersOf, placeIn, sharedBy, sumKey } from "../../bauklens/viewer/groups.js";
import { measurable, measureOf, measuredText, valuesAt } from "../../bauklens/viewer/measured.js";
import { markOf, pinned } from "../../bauklens/viewer/pins.js";
import { howToFollow } from "../../bauklens/viewer/search.js";
import { together } from "../../bauklens/viewer/siblings.js";
import { opened } from "../../bauklens/viewer/state.js";
import { small } from "./made.mjs";

const grid = (...values) => Float32Array.from(values);

/** A lens that follows tokens 10 and 11 everywhere, and a set and a word. */
function following(changes) {
  const one = { name: "a", shown: "a", part: "token", tokens: [10], probability: grid(0.5, 0.25, 0.5, 0.5, 0.25, 0.125), rank: grid(1, 4, 1, 1, 2, 3), logit: grid(3, 2, 3, 3, 2, 1) };
  const other = { name: "b", shown: "b", part: "token", tokens: [11], probability: grid(0.25, 0.25, 0.125, 0.25, 0.5, 0.5), rank: grid(2, 3, 5, 2, 1, 1), logit: grid(2, 2, 1, 2, 4, 6) };
  const set = { name: "set", shown: "set", part: "set", tokens: [11, 12], probability: grid(0, 0, 0, 0, 0, 0), rank: grid(1, 1, 1, 1, 1, 1) };
  const word = { name: "word", shown: "word", part: "whole", tokens: [13, 70], probability: grid(0.1, 0.1, 0.1, 0.1, 0.1, 0.1), rank: grid(NaN, NaN, NaN, NaN, NaN, NaN) };
  return small({ targets: [one, other, set, word], plain: { norm: "own" }, ...changes });
}

test("a sum is in every cell what its tokens are together, and its rank that of the best", () => {
  const lens = following();
  const key = sumKey([10, 11]);
  const place = placeIn(lens, key);
  const { probability, rank, logs, source } = followed(lens, place);
  assert.deepEqual([[...probability], [...rank], source], [[0.75, 0.5, 0.625, 0.75, 0.75, 0.625], [1, 3, 1, 1, 1, 1], "target"]);
  assert.ok(Math.abs(logs[1] - Math.log(0.5)) < 1e-6);
  assert.deepEqual([placeIn(lens, key), lens.shown[place], lens.keys[place]], [place, "a + ␣b", key]);
  assert.equal(placeIn(lens, sumKey([10, 99])), undefined);
});

test("the log of a sum is there also where no probability is large enough to be one", () => {
  const lens = following();
  for (const [token, log] of [[0, -400], [1, -401]]) followed(lens, token).logs.fill(log);
  const { logs } = followed(lens, placeIn(lens, sumKey([10, 11])));
  assert.ok(Math.abs(logs[0] - (-400 + Math.log(1 + Math.exp(-1)))) < 1e-3);
});

test("a sum is not known where one of its tokens is not; its rank is, where the other can be no better", () => {
  const lens = small();
  const { probability, rank, source } = followed(lens, placeIn(lens, sumKey([10, 12])));
  assert.equal(source, "top");
  assert.deepEqual([...probability], [NaN, 0.875, 0.75, NaN, 0.75, NaN]);
  assert.deepEqual([...rank], [1, 1, 1, 2, 1, NaN]);
  assert.equal(sourceOf(lens, lens.places.get(sumKey([10, 12]))), "top");
});

test("a sum's key has each token once, and sums within it are taken apart", () => {
  assert.equal(sumKey([10, sumKey([10, 11])]), sumKey([10, 11]));
  assert.deepEqual(membersOf(sumKey([10, "x"])), [10, "x"]);
  for (const key of [10, null, undefined, "x", "sum of 5", "sum of null"]) assert.equal(membersOf(key), null);
});

test("what has a token in common is not added up", () => {
  const lens = following();
  const set = lens.places.get("target: set");
  assert.deepEqual(sharedBy(lens, [1, set]), [1, set]);
  assert.equal(sharedBy(lens, [0, set]), null);
  assert.equal(placeIn(lens, sumKey([11, "target: set"])), undefined);
  assert.ok(placeIn(lens, sumKey([10, "target: set"])) > 0);
});

test("a sum is a pin like any other: in its order, with a shape, and marking cells", () => {
  const lens = following();
  const key = sumKey([11, 13]);
  const state = { ...opened([lens]), pins: [10, null, key], pin: key, order: [key] };
  const pins = pinned(lens, state);
  assert.deepEqual(pins.map(({ shape, members }) => [shape, members]), [["■", [11, 13]], ["●", null]]);
  assert.deepEqual([markOf(lens, pins, 5).shape, markOf(lens, pins, 5).rank], ["■", 1]);
});

test("charts offer what is known, and ranks at first", () => {
  const lens = small();
  const names = (each, state) => measurable(each, state).map(([name]) => name);
  const state = opened([lens]);
  assert.equal(measureOf(lens, state), "rank");
  assert.deepEqual(names(lens, state), ["rank", "log", "probability"]);
  assert.equal(measureOf(lens, { ...state, chart: "logit" }), "rank");
  const known = small({ values: { max_logit: grid(5, 5, 5, 5, 5, 5) } });
  assert.deepEqual(names(known, { ...state, difference: [10, 11] }), ["rank", "log", "probability", "logit", "difference"]);
  assert.deepEqual(valuesAt(known, 1, [0, 1], "logit").map((each) => Math.round(1000 * each) / 1000), [4.307, NaN]);
  assert.deepEqual(valuesAt(following(), 1, [5], "logit"), [6]);
});

test("ranks of tracked tokens are about right beyond those that are exact", () => {
  const tracked = { has: (token) => token === 3, of: () => ({ logs: grid(-9, -9, -9, -9, -9, -9), rank: grid(7, 900, 7, 7, 7, 7) }), isCoarse: () => false, sure: Uint32Array.of(100, 1000, 100, 100, 100, 100), limit: 0 };
  const lens = small({ tracked });
  assert.deepEqual([7, 900].map((rank) => measuredText(lens, 3, "rank", rank, 0)), ["7", "≈ 900"]);
  assert.equal(measuredText(lens, 3, "rank", 900, 1), "900"); // exact further in that cell
  assert.equal(measuredText(following(), 1, "rank", 20000, 0), "20,000");
});

/** What a lens tracks of one token: its logs and ranks in six cells, exact up to some of them. */
const tracking = (token, logs, rank, sure, isCoarse = () => false) => ({ has: (each) => each === token, of: () => ({ logs: grid(...logs), rank: grid(...rank) }), isCoarse, sure: Uint32Array.from(sure), limit: 300 });

test("tokens that are as probable share the better rank, as targets do, if it is exact", () => {
  const tracked = tracking(2, [-9, -9, -9, -9, -9, -9], [9, 1, 1, 9, 1, 9], [64, 64, 0, 64, 64, 64]);
  const { rank, probability } = followed(small({ tracked }), 2);
  assert.deepEqual([...rank], [9, 1, 2, 9, 1, 9]); // it is second in the top k of cells 1 and 2, and of cell 2 that is all that is known
  assert.equal(probability[1], 0.125);
});

test("the rank of a sum is about right if those of its tokens are", () => {
  const coarse = tracking(3, [NaN, NaN, NaN, NaN, NaN, NaN], [45, 45, 12, 45, 12, 45], [64, 64, 64, 64, 8, 64], () => true);
  const lens = small({ tracked: coarse });
  const sum = placeIn(lens, sumKey([lens.keys[3], lens.keys[4]]));
  assert.deepEqual([0, 2, 4].map((cell) => measuredText(lens, 3, "rank", followed(lens, 3).rank[cell], cell)), ["≈ 45", "12", "≈ 12"]);
  assert.equal(measuredText(lens, sum, "rank", 45, 0), "≈ 45");
});

test("the log of a target's probability is known by its logit if no float32 is that small", () => {
  const lens = following({ values: { max_logit: grid(300, 300, 300, 300, 300, 300) } });
  lens.targets[0].probability[3] = 0;
  lens.targets[0].logit[3] = 100;
  const { logs, probability } = followed(lens, 0);
  assert.equal(probability[3], 0);
  assert.ok(Math.abs(logs[3] - (-200 + Math.log(0.5))) < 1e-3);
  assert.ok(Math.abs(logs[1] - Math.log(0.25)) < 1e-6);
  const without = following();
  without.targets[0].probability[3] = 0;
  assert.equal(followed(without, 0).logs[3], -Infinity);
});

test("the difference of two is that of their logits, or of the logs of their probabilities", () => {
  const lens = following();
  assert.deepEqual(apartAt(lens, [10, 11], [0, 5]), [1, -5]);
  assert.deepEqual(apartAt(lens, [10, 12], [0, 1]).map((each) => Math.round(1000 * each) / 1000), [NaN, 0.693]);
  assert.equal(apartAt(lens, [10, 99], [0]), null);
});

test("what layers add leads from the embedding to the last layer", () => {
  const rows = (stream, logits, more = {}) => {
    const lens = following({ stream, name: stream, plain: { norm: "final" }, ...more });
    lens.targets[0].logit = grid(...logits.flatMap((each) => [0, each]));
    lens.targets[1].logit = grid(0, 0, 0, 0, 0, 0);
    return lens;
  };
  const layers = ["0", "1", "2"];
  const hidden = { ...rows("hidden", [0.5, 2, 4]) };
  const [attention, mlp] = [rows("attention", [1, 0.5, 1], { layers }), rows("mlp", [0.5, 1.5, -1], { layers })];
  const found = addedUpTo([hidden, attention, mlp], mlp, [10, 11], 1);
  assert.deepEqual([found.streams, found.start, found.sum, found.last], [["attention", "mlp"], 0.5, [2, 4, 4], 4]);
  assert.equal(aboutSum(found), "From +0.50 of the embedding, attention and MLP lead to +4.00, the difference in the last layer.");
  const halves = addedUpTo([hidden, attention], attention, [10, 11], 1);
  assert.match(aboutSum(halves), /attention leads to \+3\.00; in the last layer it is \+4\.00/);
  assert.match(aboutSum(addedUpTo([mlp], mlp, [10, 11], 1)), /^The MLPs add up to \+1\.00, without the embedding/);
  assert.equal(addedUpTo([hidden], hidden, [10, 11], 1), null);
  assert.equal(addedUpTo([rows("delta", [1, 1, 1], { plain: { norm: "own" } })], rows("delta", [1, 1, 1], { plain: { norm: "own" } }), [10, 11], 1), null);
});

test("what is shown side by side is drawn together, if its positions are the same", () => {
  const lenses = ["hidden", "mlp"].map((stream) => small({ stream }));
  assert.equal(together({ lenses, shown: lenses }, lenses[0]).length, 2);
  assert.equal(together({ lenses, shown: [lenses[1]] }, lenses[1]).length, 1);
  const other = small({ linked: [0, 7] });
  assert.equal(together({ lenses: [lenses[0], other], shown: [lenses[0], other] }, other).length, 1);
});

test("a text that no token has is told how to be followed", () => {
  assert.match(howToFollow("Rome"), /^not in any top k here.*targets=\[" Rome"\]/);
  assert.match(howToFollow("Rome", 46), /and not among the tracked tokens here \(the page has no room for 46 more\)\. To follow/);
  assert.match(howToFollow("␣Rome "), /targets=\[" Rome"\]/);
  assert.match(howToFollow('a"b'), /targets=\[" a\\"b"\]/);
});

test("a pin's best cell is that of its best rank, of equal ranks the most probable, and never in the embedding", () => {
  const lens = following({ values: {} });
  const best = (token) => bestCell(lens, token);
  assert.deepEqual([best(0), best(1)], [[1, 0], [2, 0]]);
  assert.deepEqual(best(lens.places.get("target: word")), [1, 0]); // it has no rank
  assert.deepEqual([bestCell(small(), 3), bestCell(small(), 4)], [[2, 1], null]); // known where it is in the top k
});
