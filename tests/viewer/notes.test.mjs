import assert from "node:assert/strict";
import test from "node:test";

import { LONGEST_NOTE, MOST_NOTES, noted, noteOn } from "../../bauklens/viewer/notes.js";
import { changed, opened, restored, written } from "../../bauklens/viewer/state.js";
import { made, small } from "./made.mjs";

const lenses = [small()];

test("a note is written, changed and taken away, and one cell has one note", () => {
  let state = opened(lenses);
  assert.equal(noteOn(state, "1", 0), "");
  state = changed(state, noted(state, "1", 0, "first"));
  state = changed(state, noted(state, "embed", 1, "other"));
  state = changed(state, noted(state, "1", 0, "<b>second</b>"));
  assert.deepEqual(state.notes, [["1", 0, "<b>second</b>"], ["embed", 1, "other"]]);
  assert.equal(noteOn(state, "1", 0), "<b>second</b>");
  assert.throws(() => state.notes.push(1), TypeError);
  assert.throws(() => (state.notes[0][2] = "x"), TypeError);
  assert.deepEqual(opened(lenses, JSON.parse(written(state))), state);
  for (const blank of ["", " \n"]) assert.deepEqual(changed(state, noted(state, "1", 0, blank)).notes, [["embed", 1, "other"]]);
});

test("of notes of elsewhere, only texts on cells that there are, are kept", () => {
  const kept = (notes) => restored({ notes }, lenses).notes;
  assert.deepEqual(kept([["1", 0, "a"], ["1", 0, "b"], ["9", 0, "c"], ["1", 7, "d"], ["1", "0", "e"], ["1", 1, ""], ["1", 1, 5], [1, 1, "f"], null, "1", 5]), [["1", 0, "b"]]);
  for (const notes of ["x", 5, null, {}]) assert.equal(kept(notes), undefined);
  assert.equal(kept([["1", 0, "é".repeat(LONGEST_NOTE + 9)]])[0][2].length, LONGEST_NOTE);
  assert.equal([...kept([["1", 0, "👧".repeat(LONGEST_NOTE + 9)]])[0][2]].length, LONGEST_NOTE); // none is cut in two
});

test("there are never more notes than a page holds", () => {
  const columns = MOST_NOTES + 5;
  const [wide] = [made([Array.from({ length: columns }, () => [0])], [Array.from({ length: columns }, () => [0.5])])];
  const notes = wide.positions.map((position) => ["embed", position, "x"]);
  const state = opened([wide], { notes });
  assert.equal(state.notes.length, MOST_NOTES);
  assert.deepEqual(noted(state, "embed", columns - 1, "y"), {});
  assert.equal(changed(state, noted(state, "embed", 0, "y")).notes[0][2], "y");
});
