import assert from "node:assert/strict";
import test from "node:test";

import { pairColours } from "../../bauklens/viewer/apart.js";
import { chosenIn } from "../../bauklens/viewer/axes.js";
import { entries } from "../../bauklens/viewer/bands.js";
import { colouring, colours } from "../../bauklens/viewer/colour.js";
import { contentOf } from "../../bauklens/viewer/content.js";
import { padded } from "../../bauklens/viewer/padded.js";
import { along, leadsFrom, pinned } from "../../bauklens/viewer/pins.js";
import { found } from "../../bauklens/viewer/search.js";
import { aboutRows, rowHead } from "../../bauklens/viewer/rows.js";
import { chartScale, drawnPlaces, nice, stepOf, tickPlaces } from "../../bauklens/viewer/chartscale.js";
import { layersOf, siblings } from "../../bauklens/viewer/siblings.js";
import { opened } from "../../bauklens/viewer/state.js";
import { small } from "./made.mjs";

const state = (changes) => ({ ...opened([small()]), ...changes });
const nats = { name: "entropy", unit: "nats", about: "how spread" };

test("a cell's text, colours and pin", () => {
  const content = contentOf([small()], state({ pins: [13, 11], pin: 11 }));
  assert.deepEqual(content.of(0, 0), { text: "a", p: 0.5, m: 0.167, mark: content.of(0, 0).mark, none: false, unread: false, edited: false });
  assert.deepEqual([content.of(0, 0).mark.shape, content.of(0, 0).mark.rank], ["▲", 2]);
  assert.equal(content.of(1, 1).mark.rank, 1);
  assert.equal(content.of(0, 1).mark, null);
  assert.equal(content.of(2, 1).mark.shape, "▲"); // which leads; the other pin is second there
});

const edited = { what: "zero", cells: [{ rows: [[1, 2]], positions: [[1, 1]] }] };

test("cells that an edit changed are marked, of two lenses in the one that was edited", () => {
  const lens = small({ edited, name: "edited" });
  const { of, legend } = contentOf([lens], state());
  assert.deepEqual([[0, 1], [1, 0], [1, 1], [2, 1]].map((place) => of(...place).edited), [false, false, true, true]);
  assert.equal(legend.at(-1), "▌ edited here: zero");
  const two = contentOf([small({ name: "clean" }), lens], state());
  assert.deepEqual([two.of(1, 0).edited, two.of(1, 1).edited], [false, true]);
  assert.equal(two.legend.at(-1), "▌ edited here: in edited");
  const gap = padded(Object.freeze({ ...lens, axis: [0, 5, 1], linked: [0, 1] }));
  assert.deepEqual([0, 1, 2].map((column) => contentOf([gap], state()).of(1, column).edited), [false, false, true]);
});

test("blank tokens are dimmed where that is asked for", () => {
  assert.equal(contentOf([small()], state()).of(2, 0).text, "␣");
  assert.equal(contentOf([small()], state({ hideBlank: true })).of(2, 0).text, "·");
});

test("colours by a measure run over its range, and the legend says which", () => {
  const entropy = Float32Array.of(0.5, 1, 2, 4, NaN, Infinity);
  const lens = small({ measures: { entropy: nats }, values: { entropy } });
  const { at, legend } = colouring(lens, state({ colour: "entropy" }));
  assert.deepEqual([0, 3, 4, 5].map((cell) => at(cell)[0]), [0.125, 1, NaN, 1]);
  const { none, p } = contentOf([lens], state({ colour: "entropy" })).of(2, 0);
  assert.deepEqual([none, p], [true, 0]);
  assert.deepEqual(legend, ["background: entropy (how spread), 0 to 4 nats; hatched: no value"]);
});

test("one huge row of embeddings does not take the whole scale", () => {
  const entropy = Float32Array.of(100, 90, 2, 4, 1, 3);
  const lens = small({ measures: { entropy: nats }, values: { entropy } });
  const { at, legend } = colouring(lens, state({ colour: "entropy" }));
  assert.deepEqual([0, 2, 3].map((cell) => at(cell)[0]), [1, 0.5, 1]);
  const first = small({ measures: { entropy: nats }, values: { entropy: Float32Array.of(100, 90, 70, 4, 60, 3) } });
  assert.match(colouring(first, state({ colour: "entropy" })).legend[0], /0 to 4 nats \(full beyond: embed up to 100, position 0 up to 70\)/);
  assert.match(legend[0], /0 to 4 nats \(full beyond: embed up to 100\)/);
});

test("ranks are coloured on a logarithmic scale, the first full", () => {
  const rank_of_next = Float32Array.of(1, 10, 100, NaN, 1, 1);
  const lens = small({ measures: { rank_of_next: { name: "rank_of_next" } }, values: { rank_of_next } });
  const { at, legend } = colouring(lens, state({ colour: "rank_of_next" }));
  assert.deepEqual([0, 1, 2, 3].map((cell) => Math.round(at(cell)[0] * 1000) / 1000), [1, 0.5, 0, NaN]);
  assert.match(legend[0], /1 \(full\) to 100, logarithmic/);
});

test("colours of the pinned token are offered where there is one", () => {
  const names = (changes) => colours(small(), state(changes)).map(([name]) => name);
  assert.ok(!names({}).includes("token"));
  assert.ok(names({ pins: [11], pin: 11 }).includes("token"));
  const { at, legend } = colouring(small(), state({ colour: "token", pins: [11], pin: 11 }));
  assert.deepEqual([0, 1, 5].map((cell) => at(cell)[0]), [0.25, 0, 0.9375]);
  assert.match(legend[0], /probability of ␣b if it is in the top k, 0 to 1; blank elsewhere/);
});

test("a lens without magnitudes says so", () => {
  const lens = small({ values: {}, measures: {} });
  assert.deepEqual(colouring(lens, state()).legend.at(-1), "no magnitudes in this file");
  assert.deepEqual(colouring(lens, state()).at(0), [0.5, 0]);
});

test("what differs between two lenses", () => {
  const between = { "1 distance": Float32Array.of(0, 0.25, 0.5, 0.75, 1, NaN) };
  const lens = small({ between, legends: { 1: "distance: 0 the same" } });
  const swapped = small({ place: 1, top: small().top.map((token) => (token < 2 ? 1 - token : token)) });
  const { of, legend } = contentOf([lens, swapped], state({ show: "difference" }));
  assert.deepEqual([of(0, 0).text, of(0, 0).p, of(0, 0).m], ["a | ␣b", 0, 1]);
  assert.deepEqual([of(0, 1).p, of(2, 0).p, of(2, 0).m, of(2, 1).none], [0.25, 1, 0, true]);
  assert.equal(legend[0], "background: distance: 0 the same");
  assert.equal(contentOf([small(), small({ place: 1 })], state({ show: "difference" })).of(0, 0).none, true);
});

test("what becomes of a pinned token's log p, with its sign, where both know it", () => {
  const other = small({ place: 1, name: "other", top: Uint16Array.of(0, 1, 0, 1, 0, 1, 0, 1, 2, 0, 1, 3), probability: Float32Array.of(0.5, 0.125, 0.75, 0.125, 0.5, 0.25, 0.5, 0.25, 0.5, 0.25, 0.9375, 0.03125) });
  const { of, legend, scale } = contentOf([small(), other], state({ show: "difference", pins: [11], pin: 11 }));
  const shown = (row, column) => [of(row, column).text, of(row, column).side, of(row, column).p];
  assert.deepEqual(shown(0, 0), ["−0.7", "less", 1]); // 0.25 -> 0.125
  assert.deepEqual(shown(2, 1), ["0.0", "more", 0]);
  assert.deepEqual([of(0, 1).text, of(0, 1).none], ["–", true]); // in the top k of one only
  assert.match(legend[0], /log p of ␣b from made to other, −0.7 \(orange\) to \+0.7 \(blue\) nats; hatched: ␣b is not known in both, only in the top k/);
  assert.deepEqual(scale.map(({ side }) => side), ["less", "less", "less", "more", "more"]);
});

test("a measure of two lenses together colours their difference", () => {
  const lens = small({ between: { "1 kl": Float32Array.of(0, 1, 2, 3, 4, NaN), "2 kl": new Float32Array(6) } });
  const content = contentOf([lens, small({ place: 1 })], state({ show: "difference", colour: "kl" }));
  assert.deepEqual([content.of(0, 1).p, content.of(2, 0).p, content.of(2, 1).none], [0.25, 1, true]);
  assert.match(content.legend[0], /KL divergence between the two, 0 to 4 nats/);
});

test("a column that only one of two texts has is hatched in the other, and left out of its own table", () => {
  const shifted = { axis: [0, 1, 5], place: 1, name: "other", linked: [0, 5] };
  const [one, other] = [padded(small({ axis: [0, 1, 5], linked: [0, 1] })), padded(small(shifted))];
  assert.deepEqual([one.columns, other.positions, [...other.absent]], [3, [0, "–", 1], [1]]);
  const { of, legend } = contentOf([one, other], state({ show: "difference" }));
  assert.deepEqual([of(2, 1).text, of(2, 1).none], ["␣b", true]);
  assert.deepEqual([of(2, 2).text, of(2, 2).none], ["␣b", true]);
  assert.ok(legend.includes("hatched columns: positions that only one of the two has"));
  assert.deepEqual(along(other, 1, { row: 2 }, "probability"), [NaN, NaN, 0.9375]);
  assert.deepEqual([entries(other, { show: "1", open: [] }), entries(other, { show: "beside", open: [] })], [[0, 2], [0, 1, 2]]);
  assert.deepEqual(chosenIn(other, { show: "1", layer: "1", position: 1 }), [2, 2]);
  assert.equal(padded(small()).columns, 2);
  assert.deepEqual(other.original.positions, [0, 1]);
});

test("a token along the layers and positions, and where it takes the lead", () => {
  const lens = small();
  assert.deepEqual(along(lens, 1, { column: 1 }, "probability"), [NaN, 0.5, 0.9375]);
  assert.deepEqual(along(lens, 1, { row: 1 }, "rank"), [NaN, 1]);
  assert.equal(leadsFrom(lens, 1, 1), 1);
  assert.equal(leadsFrom(lens, 1, 0), null);
  assert.deepEqual(pinned(lens, state({ pins: [99, null, 11] })).map(({ shape }) => shape), ["■"]);
});

test("a search finds texts with and without their spaces, those that begin so first", () => {
  const lens = small({ texts: ["Paris", " Paris", "in Paris", " x", "\n"] });
  assert.deepEqual(found(lens, "paris"), [0, 1, 2]);
  assert.deepEqual(found(lens, " par"), [1, 2]);
  assert.deepEqual(found(lens, "␣pa"), [1, 2]);
  assert.deepEqual(found(lens, "  "), []);
  assert.deepEqual(found(lens, "zzz"), []);
});

test("scales of a chart", () => {
  assert.deepEqual([0.004, 0.01, 0.03, 0.7, 1].map(nice), [0.01, 0.01, 0.05, 1, 1]);
  assert.deepEqual([0.3, 1, 2.5, 70].map(stepOf), [0.5, 1, 5, 100]);
  const probability = chartScale("probability", [0.3, NaN]);
  assert.deepEqual([probability.up(0.25), probability.ticks.at(-1)], [0.5, [0.5, "0.5"]]);
  const rank = chartScale("rank", [3, NaN, 20000]);
  assert.deepEqual([rank.up(1), rank.up(20000), rank.ticks.map(([, text]) => text)], [1, 0, ["1", "10", "100", "1k", "10k"]]);
  assert.deepEqual(chartScale("rank", [NaN]).ticks, [[1, "1"], [10, "10"]]);
  const log = chartScale("log", [-14.2, -0.5, -Infinity]);
  assert.deepEqual([log.ticks[0][0], log.ticks.at(-1), log.up(0)], [-15, [0, "0"], 1]);
  const difference = chartScale("difference", [2, 3.5]);
  assert.deepEqual([difference.zero, difference.up(0), difference.ticks.at(-1)[0]], [true, 0, 4]);
  for (const what of ["rank", "log", "probability", "logit", "difference"]) {
    for (const [value] of chartScale(what, [NaN]).ticks) assert.ok(Number.isFinite(chartScale(what, [NaN]).up(value)), what);
  }
});

test("ticks along an axis are at round numbers, and do not run into each other", () => {
  const layers = ["embed", ...Array.from({ length: 30 }, (_, layer) => String(layer))];
  assert.deepEqual(tickPlaces(layers, 7).map((place) => layers[place]), ["embed", "5", "10", "15", "20", "25", "29"]);
  assert.deepEqual(tickPlaces(["0"], 7), [0]);
  const many = Array.from({ length: 32768 }, (_, place) => String(place));
  const places = tickPlaces(many, 7);
  assert.ok(places.length <= 8 && places.includes(0) && places.includes(32767) && places.includes(10000));
});

test("of very many values a line goes through the lowest and the highest at each step", () => {
  assert.deepEqual(drawnPlaces([3, 1, 2]), [0, 1, 2]);
  const values = Float32Array.from({ length: 32768 }, (_, place) => (place === 20001 ? 9 : place % 2));
  values.fill(NaN, 0, 1000);
  const places = drawnPlaces(values);
  assert.ok(places.length <= 640 && places.includes(20001));
  assert.deepEqual(places, [...places].sort((one, other) => one - other));
  assert.ok(places.some((place) => Number.isNaN(values[place])));
});

test("two lenses of other rows are compared by their layers", () => {
  const fewer = small({ decoder: "jacobian", name: "J", layers: ["0", "1"], rows: 2, top: Uint16Array.of(1, 0, 0, 1, 1, 0, 1, 3) });
  const { of, legend } = contentOf([small(), fewer], state({}));
  assert.deepEqual([of(0, 0).none, of(0, 0).text, of(1, 0).text, of(2, 1).text], [true, "a", "a | ␣b", "␣b"]);
  assert.ok(legend.includes("hatched: J has no such row"));
});

test("the ranks of a pinned token are compared", () => {
  const other = small({ decoder: "jacobian", top: Uint16Array.of(1, 0, 0, 2, 0, 2, 1, 0, 2, 0, 1, 3) });
  const pin = { pins: [11], pin: 11, colour: "rank", show: "difference" };
  const { of, legend } = contentOf([small(), other], state(pin));
  assert.deepEqual([of(0, 0).text, of(2, 1).text, of(0, 1).text], ["2 | 1", "1 | 1", "– | –"]);
  assert.deepEqual([of(0, 0).p, of(2, 1).p, of(0, 1).none], [0.1, 0, true]);
  assert.match(legend[0], /in each cell the rank of ␣b/);
  assert.deepEqual(pairColours([small(), other], state(pin)).map(([name]) => name), ["both", "rank", "top"]);
});

test("the head of a row says how good its decoder is there", () => {
  const lens = small({ unmapped: ["embed"], quality: { kl: [null, 2, 8], agreement: [null, 0.5, 0.25] } });
  assert.deepEqual(rowHead(lens, 0), { text: "embed*", title: "layer embed; the decoder has no map: shown as in the logit lens", quality: null });
  assert.deepEqual([rowHead(lens, 1).text, rowHead(lens, 1).quality], ["0", 0.25]);
  assert.match(rowHead(lens, 2).title, /8 nats on held-out text; the same top token in 25 %/);
  assert.match(aboutRows(lens)[0], /full = 8 nats/);
  assert.deepEqual(aboutRows(small()), []);
});

test("a token is drawn through every decoder of the same states, each with its own dash", () => {
  const lenses = ["logit", "tuned", "jacobian"].map((decoder) => small({ decoder }));
  lenses[0] = { ...lenses[0], layers: ["embed", "0", "1"] };
  lenses[2] = { ...lenses[2], layers: ["0", "1"] };
  const several = siblings([...lenses, small({ stream: "delta" })], lenses[2]);
  assert.deepEqual(several.map(({ lens }) => lens), lenses);
  assert.equal(new Set(several.map(({ dash }) => dash)).size, 3);
  assert.deepEqual(layersOf(several), ["embed", "0", "1"]);
  assert.deepEqual(siblings([lenses[0], lenses[0]], lenses[0]).length, 1);
  const six = ["a", "b", "c", "d", "e", "f"].map((decoder) => small({ decoder }));
  assert.equal(new Set(siblings(six, six[0]).map(({ dash }) => dash)).size, 6);
  assert.equal(siblings([...six, small({ decoder: "g" })], six[0]).length, 1);
});

test("layers that only one of two lenses has are among those of both, in their order", () => {
  const layersIn = (...several) => layersOf(several.map((layers) => ({ lens: { layers } })));
  assert.deepEqual(layersIn(["embed", "2", "5"], ["0", "1", "5"]), ["embed", "0", "1", "2", "5"]);
  assert.deepEqual(layersIn(["0", "5"], ["5"], ["10", "5"]), ["0", "10", "5"]);
  assert.deepEqual(layersIn(["a", "b"], ["b", "a"]).sort(), ["a", "b"]);
});

test("a row that one of two decoders has no map for is marked where they are compared, and says whose", () => {
  const [plain, some] = [small(), { ...small(), name: "mine", unmapped: ["0"] }];
  assert.equal(rowHead(plain, plain.layers.indexOf("0"), some).text, "0*");
  assert.match(rowHead(plain, plain.layers.indexOf("0"), some).title, /mine: the decoder has no map/);
  assert.ok(contentOf([plain, some], state({})).legend.some((text) => text.startsWith("*: mine has no map")));
});

test("a quality that is infinite or unknown has no bar", () => {
  const lens = { ...small(), quality: { kl: ["Infinity", null, 2] } };
  assert.deepEqual([0, 1, 2].map((row) => rowHead(lens, row).quality), [null, null, 1]);
});
