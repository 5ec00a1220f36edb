import assert from "node:assert/strict";
import test from "node:test";

import { axesOf, everyColumn } from "../../bauklens/viewer/axes.js";
import { partOfName } from "../../bauklens/viewer/bandcells.js";
import { bandAt, chosenEntry, entries, entryIn, foldedOrOpened, idsOf } from "../../bauklens/viewer/bands.js";
import { nameOver, shortOf } from "../../bauklens/viewer/heads.js";
import { movedPatch, patchContent, patchesOf } from "../../bauklens/viewer/patchvalues.js";
import { opened, restored, written } from "../../bauklens/viewer/state.js";
import { leadersOf, shareOf, tally, tops } from "../../bauklens/viewer/tally.js";
import { worded } from "../../bauklens/viewer/words.js";
import { made } from "./made.mjs";

const TOPS = [
  [[0], [1], [1], [2], [1], [0], [0], [0], [3]],
  [[0], [2], [2], [2], [1], [0], [0], [0], [3]],
];
const halves = (tops) => tops.map((row) => row.map(([token]) => [token === 2 ? 0.25 : 0.5]));

/** Two layers of nine positions: 1 .. 7 read a picture of two rows and three columns, and a position without a place. */
function pictured(changes) {
  const picture = { name: "image 1", shown: "image 1", grid: [[1, 2, 3], [4, 5, 6]], positions: [1, 2, 3, 4, 5, 6, 7], url: "" };
  const labels = ["", "image 1, row 1, column 1", "image 1, row 1, column 2", "image 1, row 1, column 3", "image 1, row 2, column 1", "", "", "", ""];
  const bands = [{ name: "image 1", picture: 0, first: 1, last: 7, size: "2 × 3" }];
  return made(TOPS, halves(TOPS), { pictures: [picture], labels, bands, ...changes });
}
const lens = pictured();

test("a band is folded unless it is small or was opened", () => {
  const state = opened([lens]);
  assert.deepEqual(entries(lens, state), [0, -1, 8]);
  assert.deepEqual(entries(lens, { ...state, open: [1] }), [0, -1, 1, 2, 3, 4, 5, 6, 7, 8]);
  const small = pictured({ bands: [{ ...lens.bands[0], last: 6 }] });
  assert.deepEqual(opened([small]).open, [1]);
  assert.deepEqual([bandAt(lens, 7), bandAt(lens, 8)], [lens.bands[0], null]);
});

test("a place along an axis is found again, and a column in a folded band is where the band is", () => {
  const state = opened([lens]);
  const axes = axesOf(lens, state);
  assert.deepEqual(axes.across, [0, -1, 8]);
  assert.deepEqual(axes.cell(1, 1), [1, -1]);
  assert.deepEqual([axes.place(1, -1), axes.place(1, 5), axes.place(0, 8)], [[1, 1], [1, 1], [0, 2]]);
  const down = axesOf(lens, { ...state, layersAcross: true });
  assert.deepEqual([down.down, down.cell(1, 0)], [[0, -1, 8], [0, -1]]);
  assert.deepEqual(axesOf(lens, state, everyColumn(lens)).across.length, 9);
});

test("choosing a column in a folded band opens it, choosing the band does not", () => {
  const state = opened([lens]);
  const inside = chosenEntry(lens, state, 5);
  assert.deepEqual(inside, { position: 5, band: false, picture: 0, open: [1] });
  assert.deepEqual(chosenEntry(lens, state, -1), { position: 1, band: true, picture: 0 });
  assert.deepEqual(chosenEntry(lens, state, 8), { position: 8, band: false });
  assert.equal(entryIn(lens, { ...state, ...inside }, 5), 5);
  assert.equal(entryIn(lens, { ...state, band: true }, 1), -1);
  const open = { ...state, ...foldedOrOpened(lens, state, lens.bands[0]) };
  assert.deepEqual([open.open, open.band, open.position], [[1], true, 1]);
  assert.deepEqual(foldedOrOpened(lens, open, lens.bands[0]).open, []);
});

test("what is open is written and read again, and nothing that makes no sense is believed", () => {
  const state = { ...opened([lens]), open: [1], band: true, position: 1, imagery: 0.25, patches: "top" };
  assert.deepEqual({ ...opened([lens], JSON.parse(written(state))) }, state);
  const nonsense = { open: [7, "1", null], band: true, position: 2, picture: 3, imagery: 7, patches: "all" };
  assert.deepEqual(restored(nonsense, [lens]), { open: [], position: 2 });
  assert.deepEqual(opened([lens], { position: 4 }).open, [1]);
  assert.deepEqual(idsOf([lens, lens]), [1]);
});

test("the tokens at the top of a band are counted", () => {
  const [band] = lens.bands;
  assert.deepEqual(tally(lens, 0, band), [[1, 3], [0, 3], [2, 1]]);
  assert.equal(shareOf(lens, 1, band, 2), 3 / 7);
  assert.deepEqual(leadersOf(lens, band, 2), { tokens: [1, 0], all: 3 });
  const other = pictured({ top: lens.top.map((token) => (token === 1 ? 4 : token)) });
  assert.deepEqual(tops([lens, other], 0, band), [[1, 3], [5, 3], [3, 1]]);
});

test("a name is as short as a head needs it", () => {
  assert.equal(shortOf("image 12, row 3, column 5"), "3·5");
  assert.equal(shortOf("image 1, tile 2, row 1, column 4"), "1·4");
  assert.equal(shortOf("image 1"), "image 1");
  assert.deepEqual(["image 1", "image 1, tile 12"].map(partOfName), ["image 1", "tile 12"]);
  assert.deepEqual([nameOver(lens, 1), nameOver(lens, 0)], ["image 1, row 1, column 1", "t0"]);
});

test("patches are columns row by row, those that the table lacks left out", () => {
  const [picture] = lens.pictures;
  assert.deepEqual(patchesOf(lens, picture), { columns: [[1, 2, 3], [4, 5, 6]], isPlaced: true });
  const part = pictured({ positions: [0, 1, 2, 30, 40, 5, 6, 7, 8] });
  assert.deepEqual(patchesOf(part, picture).columns, [[1, 2, -1], [-1, 5, 6]]);
  const unplaced = patchesOf(lens, { ...picture, grid: [] });
  assert.deepEqual(unplaced, { columns: [[1, 2, 3, 4, 5, 6, 7]], isPlaced: false });
});

test("a patch shows its top token, or a pinned token where that is known", () => {
  const [picture] = lens.pictures;
  const state = opened([lens]);
  const plain = patchContent(lens, state, 0, picture);
  assert.deepEqual([plain.of(1).text, plain.of(1).p, plain.of(3).said, plain.pin], ["␣b", 0.5, "␣ 0.250", null]);
  const pinned = { ...state, pins: [12], pin: 12 };
  const { of, legend, pin } = patchContent(lens, pinned, 0, picture);
  assert.deepEqual([of(3).text, of(3).p, of(3).none, pin.token], ["0.250", 1, false, 2]);
  assert.deepEqual([of(1).text, of(1).none], ["", true]);
  assert.match(legend[0], /full colour = 0.25, the largest in any layer.*hatched: not in the top 1 there, so not known/);
  assert.equal(patchContent(lens, { ...pinned, patches: "top" }, 0, picture).pin, null);
});

test("a target is known in every patch", () => {
  const grid = Float32Array.from({ length: 18 }, (_, cell) => cell / 100);
  const target = { text: " ", name: " ", shown: "␣", tokens: [12], part: "token", probability: grid, rank: grid, logit: grid };
  const followed = pictured({ targets: [target] });
  const { of, legend } = patchContent(followed, opened([followed]), 1, followed.pictures[0]);
  assert.deepEqual([of(1).text, of(6).p, of(1).none], ["0.100", 1, false]);
  assert.match(legend[0], /full colour = 0.15.*known in every patch, because it was followed/);
});

test("arrow keys go from patch to patch and over what no position reads", () => {
  const columns = [[1, -1, 3], [4, 5, 6]];
  assert.deepEqual(movedPatch("ArrowRight", columns, [0, 0]), [0, 2]);
  assert.deepEqual(movedPatch("ArrowUp", columns, [1, 1]), [1, 1]);
  assert.deepEqual(movedPatch("ArrowDown", columns, [0, 2]), [1, 2]);
  assert.deepEqual(movedPatch("End", columns, [1, 0]), [1, 2]);
  assert.equal(movedPatch("Enter", columns, [0, 0]), null);
  assert.deepEqual(movedPatch("ArrowDown", [[1, 2], [3]], [0, 1]), [0, 1]);
});

test("texts about a classifier say labels", () => {
  assert.equal(worded({ predicts: "labels" }, "pin this token; tokens, tokenized"), "pin this label; labels, tokenized");
  assert.equal(worded({ predicts: "tokens" }, "pin this token"), "pin this token");
});
