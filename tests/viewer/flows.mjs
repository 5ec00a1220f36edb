// The main flows of the viewer in a real browser, over WebDriver BiDi: node flows.mjs BROWSER EXECUTABLE FOLDER
// FOLDER holds the pages that Python saved, and what they must say. A line of JSON tells how each flow went.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { probabilityText } from "../../bauklens/viewer/numbers.js";
import { launched, runAll, soon } from "./driven.mjs";

const [name, executablePath, folder] = process.argv.slice(2);
const downloads = join(folder, `downloads-${name}`);
const { tops: texts, probabilities, token } = JSON.parse(await readFile(join(folder, "expected.json"), "utf8"));
const tops = texts.map((row, down) => row.map((text, across) => `${text}, ${probabilityText(probabilities[down][across])}`));

const browser = await launched(name, executablePath, downloads);

/** A page of the folder, and what finds things in it as a screen reader would: by role and name. */
async function opened(file, fragment = "") {
  const page = await browser.newPage();
  await page.setViewport({ width: 1400, height: 900 });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(pathToFileURL(join(folder, file)).href + fragment);
  const every = (role, called) => page.$$(`::-p-aria([role="${role}"]${called ? `[name="${called}"]` : ""})`);
  const by = (role, called, nth = 0) => soon(async () => (await every(role, called))[nth], `there is no ${role} “${called}” (${nth})`);
  const menu = (text) => page.locator(`summary ::-p-text(${text})`).click();
  const detail = async () => (await by("group", "selected cell")).evaluate((element) => element.textContent);
  await by("grid");
  return {
    page,
    every,
    by,
    menu,
    click: async (role, called) => (await by(role, called)).click(),
    press: (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve()),
    /** A cell of the first table, by what it announces: its token and probability. */
    cell: async (row, column) => {
      const said = tops[row][column];
      const before = tops.flat().slice(0, row * tops[0].length + column).filter((each) => each === said).length;
      return soon(async () => (await page.$$(`[role="gridcell"][aria-label="${said}"]`))[before], `there is no cell “${said}” (${before})`);
    },
    /** Waits until the panel tells of a cell, with its token and probability. */
    tells: async (row, column) => {
      const [where, said] = [`${row ? `layer ${row - 1}` : "embedding"}, position ${column}`, tops[row][column].split(", ")];
      const isTold = (told) => [where, ...said].every((each) => told.includes(each));
      await soon(async () => isTold(await detail()), `the panel does not tell of ${where}`);
    },
    pressed: async (role, called) => (await by(role, called)).evaluate((element) => element.getAttribute("aria-pressed")),
    focused: () => page.evaluate(() => document.activeElement.getAttribute("aria-label")),
    end: async () => {
      assert.deepEqual(complaints, []);
      await page.close();
    },
  };
}

const background = (element) => element.evaluate((each) => getComputedStyle(each).background);
const last = [tops.length - 1, tops[0].length - 1];

const flows = {
  async "a click chooses a cell, and the arrow keys go on from it"({ page, cell, tells, press, focused }) {
    await tells(...last);
    const values = await page.$("::-p-text(Values as a table)");
    await values.click();
    await soon(() => page.$("details table caption"), "the charts have no tables");
    await values.click();
    await (await cell(1, 2)).click();
    await tells(1, 2);
    for (const [key, row, column] of [["ArrowRight", 1, 3], ["ArrowDown", 2, 3], ["Home", 2, 0], ["ArrowUp", 1, 0]]) {
      await press(key);
      await tells(row, column);
      assert.equal(await focused(), tops[row][column]);
    }
  },

  async "a token is found, pinned and unpinned"({ by, page, press, pressed, click }) {
    assert.equal(await pressed("button", `pin ${token.shown}`), "false");
    await (await by("combobox", "find a token and pin it")).click();
    await page.keyboard.type(token.typed);
    await by("option", token.shown);
    await press("Enter");
    await soon(async () => (await pressed("button", `pin ${token.shown}`)) === "true", "the token is not pinned");
    await click("button", `pin ${token.shown}`);
    await soon(async () => (await pressed("button", `pin ${token.shown}`)) === "false", "the token is still pinned");
  },

  async "a measure colours the table"({ by, cell }) {
    const before = await background(await cell(1, 1));
    await (await by("combobox", "Colour")).select("entropy");
    await soon(async () => (await background(await cell(1, 1))) !== before, "the colour is the same");
  },

  async "the theme is light, then dark"({ page, menu, by }) {
    const paper = () => page.evaluate(() => getComputedStyle(document.querySelector("[role=grid]")).backgroundColor);
    await menu("View");
    const seen = [];
    for (const theme of ["light", "dark"]) {
      await (await by("combobox", "Theme")).select(theme);
      await soon(async () => !seen.includes(await paper()), "the paper is the same");
      seen.push(await paper());
    }
    assert.equal(seen[0], "rgb(255, 255, 255)");
  },

  async "CSV is downloaded"({ menu, click }) {
    await menu("Export");
    await click("button", "Download CSV");
    await soon(async () => (await readdir(downloads).catch(() => [])).some((each) => each.endsWith(".csv")), "there is no CSV");
  },

  async "the keys are listed, and reach the search and the cell's tokens"({ cell, press, every, by, focused }) {
    await (await cell(...last)).focus();
    await press("?");
    await by("dialog", "keyboard shortcuts");
    await press("Escape");
    await soon(async () => !(await every("dialog", "keyboard shortcuts")).length, "the list is still open");
    await press("/");
    assert.equal(await focused(), "find a token and pin it");
    await press("Escape", "Enter");
    assert.match(await focused(), /^pin /);
    await press("Escape");
    assert.equal(await focused(), tops[last[0]][last[1]]);
  },

  async "a link holds the view"({ cell, tells, menu, click, by, page, press }) {
    await (await cell(1, 2)).click();
    await tells(1, 2);
    await menu("Export");
    await click("button", "Copy a link to this view");
    await soon(() => page.$("::-p-text(link copied)"), "the link is not copied");
    const search = await by("combobox", "find a token and pin it");
    await search.click();
    await page.keyboard.down("Control");
    await press("v");
    await page.keyboard.up("Control");
    const [, fragment] = (await search.evaluate((each) => each.value)).split("#");
    const again = await opened("one.html", `#${fragment}`);
    await again.tells(1, 2);
    await again.end();
  },

  async "several lenses are shown in turn, side by side, and compared"({ page, every, by, pressed }) {
    const tabs = await (await by("group", "what is shown")).$$("button");
    const names = await Promise.all(tabs.map((tab) => tab.evaluate((each) => each.textContent)));
    const labels = async () => Promise.all((await every("grid")).map((grid) => grid.evaluate((each) => each.getAttribute("aria-label"))));
    const [first] = await labels();
    for (const [place, count] of [[1, 1], [names.indexOf("side by side"), 2], [names.findIndex((name) => name.includes("↔")), 1], [0, 1]]) {
      await tabs[place].click();
      await soon(async () => (await labels()).length === count, `there are not ${count} tables`);
      assert.equal(await pressed("button", names[place]), "true");
      if (place === 1) assert.notEqual((await labels())[0], first);
    }
    assert.deepEqual(await labels(), [first]);
    assert.ok(await page.$("::-p-text(bar: the top tokens differ)") === null);
  },
};

const pages = { "several lenses are shown in turn, side by side, and compared": "several.html" };
await runAll(flows, (flow) => opened(pages[flow] ?? "one.html"));
await browser.close();
