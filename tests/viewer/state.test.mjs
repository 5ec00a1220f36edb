import assert from "node:assert/strict";
import test from "node:test";

import { MOST_PINS, inOrder, movedBy, movedTo, toggled } from "../../bauklens/viewer/pinstate.js";
import { changed, opened, pairOf, restored, showing, shows, written } from "../../bauklens/viewer/state.js";
import { sumKey } from "../../bauklens/viewer/groups.js";
import { fileName } from "../../bauklens/viewer/share.js";
import { small } from "./made.mjs";

const lenses = [small()];

test("a viewer opens at the last layer and position, and nothing of its state can be changed in place", () => {
  const state = opened(lenses);
  assert.deepEqual([state.layer, state.position], ["1", 1]);
  assert.throws(() => (state.layer = "0"), TypeError);
  assert.throws(() => state.pins.push(1), TypeError);
  assert.equal(changed(state, { layer: "0" }).layer, "0");
  assert.equal(state.layer, "1");
});

test("what was written is read again", () => {
  const state = changed(opened(lenses), { pins: [11, 12], pin: 12, stride: 3, layer: "embed", colour: "magnitude" });
  assert.deepEqual(opened(lenses, JSON.parse(written(state))), state);
});

test("nothing that makes no sense is believed", () => {
  const nonsense = {
    show: "length", chart: "foo", theme: "x", layer: "99", position: "0", pins: [1, "x", 11, null], pin: 99, stride: 1.5, width: 1e9, colour: 5, bottomUp: "yes", extra: 1,
  };
  assert.deepEqual(restored(nonsense, lenses), { pins: [null, null, 11], pin: 11 });
  for (const given of [null, 5, "text", [], undefined]) assert.deepEqual(restored(given, lenses), {});
});

test("pins keep their places, so that their colours stay", () => {
  let state = opened(lenses);
  for (const key of [11, 12, 13]) state = changed(state, toggled(state, key));
  assert.deepEqual([state.pins, state.pin], [[11, 12, 13], 13]);
  state = changed(state, toggled(state, 12));
  assert.deepEqual([state.pins, state.pin], [[11, null, 13], 13]);
  state = changed(state, toggled(state, 14));
  assert.deepEqual([state.pins, state.pin], [[11, 14, 13], 14]);
  for (const key of [11, 14, 13]) state = changed(state, toggled(state, key));
  assert.deepEqual([state.pins, state.pin], [[], null]);
});

test("pins are put in an order, which their colours do not follow", () => {
  let state = opened(lenses);
  for (const key of [11, 12, 13]) state = changed(state, toggled(state, key));
  const order = () => inOrder(state).map(({ key, place }) => [key, place]);
  state = changed(state, movedBy(state, 13, -1));
  assert.deepEqual(order(), [[11, 0], [13, 2], [12, 1]]);
  assert.deepEqual([movedBy(state, 11, -1), movedBy(state, 99, 1)], [{}, {}]);
  state = changed(state, movedTo(state, 11, 12));
  assert.deepEqual(order(), [[13, 2], [12, 1], [11, 0]]);
  state = changed(state, { difference: [11, 12] });
  state = changed(state, toggled(state, 12));
  assert.deepEqual([order(), state.difference], [[[13, 2], [11, 0]], []]);
  state = changed(state, toggled(state, 14));
  assert.deepEqual(order(), [[13, 2], [11, 0], [14, 1]]);
  assert.deepEqual(opened(lenses, JSON.parse(written(state))), state);
});

test("of orders, differences, sums and positions of elsewhere, only what makes sense is kept", () => {
  const sum = sumKey([11, 12]);
  const kept = (given) => restored({ pins: [11, 12, sum], ...given }, lenses);
  assert.deepEqual(kept({}).pins, [11, 12, sum]);
  assert.deepEqual(kept({ order: [sum, 99, 11, 11, null, {}] }).order, [sum, 11]);
  for (const difference of [[11], [11, 11], [11, 99], [11, 12, 13], [null, 11], [[11], 12], ["11", 12]]) assert.deepEqual(kept({ difference }).difference, []);
  assert.deepEqual(kept({ difference: [11, sum] }).difference, [11, sum]);
  assert.deepEqual([kept({ order: 5, difference: "11" }).order, kept({ difference: {} }).difference], [undefined, undefined]);
  assert.deepEqual([kept({ kept: [1, 1, 0, 7, "0", null] }).kept, kept({ kept: "01" }).kept], [[1, 0], undefined]);
  for (const key of ["sum of ", "sum of [11]", "sum of [11,11]", "sum of [11,99]", 'sum of ["sum of [11,12]",13]', "sum of {", "sum of [11, 12]"]) {
    assert.deepEqual(restored({ pins: [key, 11] }, lenses).pins, [null, 11], key);
  }
  assert.deepEqual(restored({ pins: [11, 11, 12] }, lenses).pins, [11, null, 12]);
});

test("what can be shown", () => {
  assert.deepEqual(shows([small()]), ["0"]);
  assert.deepEqual(shows([small(), small()]), ["0", "1", "beside", "difference"]);
  assert.deepEqual(shows([small({ paired: false }), small()]), ["0", "1", "beside"]);
  assert.deepEqual(shows([small(), small(), small()]), ["0", "1", "2", "beside", "0-1", "0-2", "1-2"]);
  assert.equal(shows(Array.from({ length: 6 }, () => small())).filter((show) => show.includes("-")).length, 15);
  assert.deepEqual(shows(Array.from({ length: 7 }, () => small())), ["0", "1", "2", "3", "4", "5", "6"]);
  const decoders = ["logit", "tuned", "jacobian"].map((decoder) => small({ decoder }));
  assert.deepEqual(shows(decoders), ["0", "1", "2", "beside", "0-1", "0-2", "1-2"]);
  assert.deepEqual(pairOf(decoders, "0-2"), [decoders[0], decoders[2]]);
  assert.equal(pairOf(decoders, "beside"), null);
});

test("there are never more pins than colours", () => {
  let state = opened(lenses);
  for (let key = 0; key < 20; key += 1) state = changed(state, toggled(state, key));
  assert.equal(state.pins.length, MOST_PINS);
  assert.equal(state.pin, 19);
  assert.ok(state.pins.includes(19));
});

test("a file's name is made of letters and digits", () => {
  assert.equal(fileName("../..\\The <Eiffel> Tower\n", "", "csv"), "The-Eiffel-Tower.csv");
  assert.equal(fileName("The Tower", "hidden ../my lens", "csv"), "The-Tower-hidden-my-lens.csv");
  assert.equal(fileName("///", "", "svg"), "lens.svg");
  assert.equal(fileName("日本".repeat(99), "", "png").length, 64);
});

test("columns are wider while two tokens stand in a cell, and narrower side by side, unless a person chose their width", () => {
  const lenses = [small(), small()];
  const state = opened(lenses);
  const pair = changed(state, showing("difference", state, lenses));
  assert.deepEqual([pair.show, pair.width], ["difference", 108]);
  assert.deepEqual(showing("0", pair, lenses), { show: "0", width: 76 });
  assert.equal(showing("beside", state, lenses).width, 50);
  assert.deepEqual(showing("difference", { ...state, width: 90 }, lenses), { show: "difference", width: 90 });
});

test("columns are as wide as the labels of a classifier need, within reason", () => {
  const labelled = (text) => small({ predicts: "labels", texts: ["a", text, "c", "a label that is the longest and never on top"], ids: [0, 1, 2, 3] });
  assert.equal(opened([labelled("joy")]).width, 76);
  assert.equal(opened([labelled("not at all angry")]).width, 144);
  assert.equal(opened([labelled("x".repeat(99))]).width, 200);
  assert.equal(opened([small({ texts: ["a", "x".repeat(99), "c", "d"] })]).width, 76);
  const lenses = [labelled("not at all angry"), labelled("not at all angry")];
  assert.equal(showing("difference", opened(lenses), lenses).width, 200);
});
