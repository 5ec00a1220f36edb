// Which positions the far zoom shows, and how cells share pixels.

import assert from "node:assert/strict";
import { test } from "node:test";

import { aboutPart, following, wholeOf, zoomed } from "../../bauklens/viewer/farzoom.js";
import { shared } from "../../bauklens/viewer/pixels.js";

test("zooming keeps what is under the pointer where it is, and stays within the table", () => {
  assert.deepEqual(wholeOf(1000), { from: 0, count: 1000 });
  assert.deepEqual(zoomed(wholeOf(1000), 1000, 0.5, 0.25), { from: 125, count: 500 });
  assert.deepEqual(zoomed({ from: 125, count: 500 }, 1000, 2, 0.25), { from: 0, count: 1000 });
  assert.deepEqual(zoomed({ from: 0, count: 500 }, 1000, 0.5, 0), { from: 0, count: 250 });
  assert.deepEqual(zoomed({ from: 500, count: 500 }, 1000, 1.5, 0), { from: 250, count: 750 });
  assert.deepEqual(zoomed({ from: 10, count: 100 }, 1000, 0.1, 0.5), { from: 30, count: 60 });
  assert.deepEqual(zoomed(wholeOf(20), 20, 0.5, 0.5), { from: 0, count: 20 });
});

test("the part that is shown follows the table, and moves no more than that needs", () => {
  const part = { from: 100, count: 200 };
  assert.deepEqual(following(part, 1000, 150, 170), part);
  assert.deepEqual(following(part, 1000, 600, 620), { from: 510, count: 200 });
  assert.deepEqual(following(part, 1000, 980, 1000), { from: 800, count: 200 });
});

test("what is said of it", () => {
  const lens = { columns: 32768, rows: 49, positions: Array.from({ length: 32768 }, (_, place) => place) };
  assert.equal(aboutPart(wholeOf(32768), lens, 1200), "All 32,768 positions in 49 layers; a pixel shows the strongest of 28 positions");
  assert.equal(aboutPart({ from: 512, count: 1024 }, lens, 1024), "Positions 512 to 1535 in 49 layers");
});

test("every cell is in a pixel, and every pixel has a cell", () => {
  for (const [pixels, cells] of [[3, 10], [10, 3], [7, 7], [1200, 32768]]) {
    const all = Array.from({ length: pixels }, (_, pixel) => shared(pixel, pixels, cells));
    const covered = new Set(all.flatMap(([first, end]) => Array.from({ length: end - first }, (_, place) => first + place)));
    assert.equal(covered.size, cells);
    assert.ok(all.every(([first, end]) => first < end && end <= cells));
  }
});
