// The live page in a real browser, against the real server: node live.mjs BROWSER EXECUTABLE FOLDER URL

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { launched, runAll, soon } from "./driven.mjs";

const [name, executablePath, folder, url] = process.argv.slice(2);
const downloads = join(folder, `downloads-${name}`);
const browser = await launched(name, executablePath, downloads);
const LONG = 1200; // tries, of 50 ms
const EIFFEL = "The Eiffel Tower is located in the city of";

/** The live page, and what finds things in it as a screen reader would: by role and name. */
async function opened(address = url) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1400, height: 1000 });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(address);
  const every = (role, called) => page.$$(`::-p-aria([role="${role}"]${called ? `[name="${called}"]` : ""})`);
  const by = (role, called, nth = 0) => soon(async () => (await every(role, called))[nth], `there is no ${role} “${called}” (${nth})`);
  const text = (selector) => page.$$eval(selector, (found) => found.map((each) => each.textContent));
  const says = (selector, what, tries = LONG) => soon(async () => (await text(selector)).some((each) => each.includes(what)), `${selector} does not say “${what}”`, tries);
  return {
    page, every, by, text, says,
    click: async (role, called, nth = 0) => (await by(role, called, nth)).click(),
    /** Types a prompt into the empty box, and looks. */
    async look(prompt = EIFFEL) {
      await (await by("textbox", "prompt")).click();
      await page.keyboard.type(prompt);
      await page.keyboard.press("Enter");
    },
    done: () => says("#status", "Done in"),
    heading: () => text(".live-head h2"),
    complaints,
    end: async () => {
      assert.deepEqual(complaints, []);
      await page.close();
    },
  };
}

const answers = ({ text }) => text(".live-answers tbody tr");

const flows = {
  async "a table fills in, and becomes a viewer"({ page, look, done, by, text }) {
    await page.evaluate(() => {
      const seen = { before: 0, coming: 0 };
      Object.assign(window, { seen });
      const look = () => {
        if (document.querySelector("figure.mounted")) return;
        seen.before = Math.max(seen.before, document.querySelectorAll("figure.filling td:not(.coming)").length);
        seen.coming = Math.max(seen.coming, document.querySelectorAll("figure.filling td.coming").length);
      };
      new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
    });
    await look(`${"The sea is not far from here. ".repeat(4)}${EIFFEL}`);
    await done();
    await by("grid");
    const { before, coming } = await page.evaluate(() => window["seen"]);
    assert.ok(before > 31 && coming > 31, `${before} cells were filled, and ${coming} waited, before the viewer was there`);
    assert.ok((await text(".detail .tops li"))[0].includes("␣Paris"));
    assert.equal(await page.evaluate(() => location.hash.includes("token=")), false);
  },

  async "before the first look there are examples, and a number that is too large is not sent"({ page, click, done, heading, by, text }) {
    assert.ok((await text(".live-hello"))[0].includes("Press ✎ beside a token"));
    await click("button", "The opposite of hot is");
    await done();
    assert.deepEqual([...(await heading()), ...(await text(".live-hello"))], ["The opposite of hot is"]);
    assert.equal(await page.$eval("#prompts textarea", (box) => /** @type {HTMLTextAreaElement} */ (box).value), "The opposite of hot is");
    await (await by("spinbutton", "Top")).click({ count: 3 });
    await page.keyboard.type("999");
    await (await by("textbox", "prompt")).click();
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Top");
  },

  async "what is typed is shown as tokens, a chat in the model's template"({ page, by, click, says, text, look, done }) {
    await (await by("textbox", "prompt")).click();
    await page.keyboard.type("The sea");
    await says("#preview", "2 tokens");
    await click("button", "Chat"); // and the focus is where one types
    await page.keyboard.type("Where is Paris?");
    await says("#preview", "<|im_start|>");
    assert.ok((await text("#preview button.special")).includes("<|im_end|>"));
    await page.keyboard.press("Enter");
    await done();
    assert.ok((await text(".live-head h2"))[0].startsWith("Where is Paris?"));
  },

  async "a look that runs is stopped, and another is none the worse"({ page, by, click, says, look, done }) {
    const generate = await by("spinbutton", "Generate");
    await generate.click({ count: 3 });
    await page.keyboard.type("200");
    await look("Once upon a time, there was a"); // a text that the model does not end
    const isFilled = () => {
      const generated = document.querySelectorAll("figure.filling th.generated").length;
      const rows = [...document.querySelectorAll("figure.filling tbody tr")].map((row) => [...row.querySelectorAll("td")]);
      const of = (place) => rows.map((cells) => cells.at(place - generated));
      return generated > 1 && [of(-1), of(0)].every((cells) => cells.length > 20 && cells.every((cell) => cell && !cell.classList.contains("coming")));
    };
    await soon(() => page.evaluate(isFilled), "the prompt's last column and the first generated one do not fill in", LONG);
    await says("#status", "Generating: ");
    await page.locator("#status .stop").click();
    await says("#status", "Stopped.");
    await (await by("spinbutton", "Generate")).click({ count: 3 });
    await page.keyboard.type("2");
    await click("button", "Look");
    await done();
    assert.equal((await page.$$(".row.heads:not(.foot) .head.generated")).length, 2);
  },

  async "a token is swapped for another, and random changes do not do that"(tab) {
    const { page, look, done, click, by, says, heading } = tab;
    await page.evaluate(() => {
      const said = [];
      Object.assign(window, { said });
      new MutationObserver(() => said.push(document.querySelector("#status span").textContent)).observe(document.querySelector("#status"), { childList: true, subtree: true, characterData: true });
    });
    await (await by("combobox", "Decoder")).select("demo");
    await look();
    await done();
    await click("button", "change ␣Paris");
    await page.keyboard.type("Rome");
    await page.keyboard.press("Enter");
    await says(".live-answers", "continuation");
    await done();
    const [clean, changed, random] = await answers(tab);
    assert.ok(clean.startsWith("as it is␣Paris"), clean);
    assert.ok(changed.startsWith("changed␣Rome"), changed);
    assert.ok(random.startsWith("random, 10 times␣Paris"), random);
    assert.match(changed, /Rome, Italy/);
    await says(".live-answers .told", "None of 10 random changes");
    assert.ok((await heading())[0].endsWith("␣Paris → ␣Rome (layers 10–20)"));
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H2"); // the button that was pressed is gone
    await by("button", "side by side");
    const said = await page.evaluate(() => window["said"]);
    for (const part of ["With the change, ", "With random changes, ", "What follows, "]) assert.ok(said.some((each) => each.startsWith(part)), `${part} is not said: ${said.slice(0, 200)}`);
    assert.deepEqual(said.filter((each) => each.includes("1 prompts")), []);
  },

  async "a token of the prompt is replaced, and states are patched from another prompt"(tab) {
    const { page, look, done, click, by, says, heading, text } = tab;
    await look("The capital of France is");
    await done();
    await soon(async () => (await page.$$("#preview button")).length === 5, "there are no tokens");
    const press = (place) => page.locator(`#preview button:nth-of-type(${place + 1})`).click();
    await press(3);
    await page.keyboard.type("Italy");
    await page.keyboard.press("Enter");
    await says(".live-head h2", "␣France → ␣Italy (position 3 replaced)");
    await done();
    assert.ok((await text(".row.heads .head.position")).some((each) => each.includes("Italy")));
    await press(0);
    await (await by("radio", "Patch states from another prompt")).click();
    const other = await by("textbox", "the other prompt");
    assert.equal(await other.evaluate((box) => /** @type {HTMLTextAreaElement} */ (box).value), "The capital of France is");
    await other.click({ count: 3 });
    await page.keyboard.type("It is");
    await click("button", "Change");
    await says("#status", "position 0 has no counterpart: make the other one longer.");
    assert.ok((await heading())[0].endsWith("position 3 replaced)")); // the look that was there stays
    assert.deepEqual(await page.$$(".live-stage.old"), []);
    await by("grid");
    await press(3);
    await (await by("radio", "Patch states from another prompt")).click();
    await (await by("textbox", "the other prompt")).click({ count: 3 });
    await page.keyboard.type("The capital of Italy is");
    await click("button", "Change");
    await says(".live-answers", "continuation");
    await done();
    const [clean, changed, ...rest] = await answers(tab);
    assert.ok(clean.includes("␣Paris") && changed.includes("␣Rome"), `${clean} / ${changed}`);
    assert.deepEqual(rest, []);
    assert.ok((await heading())[0].includes("patched"));
  },

  async "looks are gone back to, pinned beside another, and opened by their link"({ page, look, done, click, heading, by }) {
    await look("The sea is");
    await done();
    await page.$eval("#prompts textarea", (box) => (/** @type {HTMLTextAreaElement} */ (box).value = ""));
    await look("The sun is");
    await done();
    await page.goBack();
    await soon(async () => (await heading())[0] === "The sea is", "it did not go back");
    await by("grid");
    await click("button", "Pin beside");
    await page.goForward();
    await soon(async () => (await heading()).join() === "The sun is,The sea is", "they are not beside each other");
    await soon(async () => (await page.$$("figure.mounted")).length === 2, "there are not two viewers");
    await click("button", "the previous look");
    await soon(async () => (await heading())[0] === "The sea is", "the button did not go back");
    const other = await opened(page.url());
    await other.done();
    assert.deepEqual(await other.heading(), ["The sea is"]);
    assert.equal(await other.page.$eval("#prompts textarea", (box) => /** @type {HTMLTextAreaElement} */ (box).value), "The sea is");
    await other.end();
    await click("button", "Unpin");
    await soon(async () => (await page.$$("figure.mounted")).length === 1, "it is still pinned");
    const sea = page.url();
    await click("button", "the next look");
    await soon(async () => (await heading())[0] === "The sun is", "the button did not go on");
    await page.reload();
    await done();
    await page.evaluate((address) => (location.href = address), sea); // a link that is pasted into this tab
    await soon(async () => (await heading())[0] === "The sea is", "the link was not followed");
    await done();
    await page.goBack();
    await soon(async () => (await heading())[0] === "The sun is", "it did not go back after the link");
    await page.goBack();
    await soon(async () => (await heading())[0] === "The sea is", "it did not go back to before it was loaded again");
  },

  async "a link on another page makes the model run only if one says so"({ page, look, done, click, by, heading, text }) {
    await look("The sea is");
    await done();
    const link = page.url();
    await page.goto(new URL("/", link.replace("127.0.0.1", "localhost")).href); // another site, to a browser
    await Promise.all([page.waitForNavigation(), page.evaluate((to) => (location.href = to), link)]);
    await by("button", "Look at this");
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.deepEqual(await heading(), [""]);
    assert.deepEqual(await text("#status span"), [""]);
    await click("button", "Look at this");
    await done();
    assert.deepEqual(await heading(), ["The sea is"]);
  },

  async "a link with a wrong token does not take the right one away"({ page, says, by }) {
    await page.goto("about:blank");
    await page.goto(`${new URL("/", url).href}#token=wrong-wrong`);
    await says("#status", "The token is missing or wrong");
    await page.goto("about:blank");
    await page.goto(new URL("/", url).href);
    await by("textbox", "prompt");
  },

  async "a look is saved as a page and as the lines that make it again"({ page, look, done, click, says }) {
    await look("The moon is");
    await done();
    await (await page.$(".live-head summary")).click();
    for (const [what, said] of [["Copy the Python", "Python copied"], ["Copy the command", "command copied"], ["Copy the link", "link copied"]]) {
      await click("button", what);
      await says(".live-head .said", said);
    }
    await click("button", "Page (HTML)");
    const file = await soon(async () => (await readdir(downloads).catch(() => [])).find((each) => each.endsWith(".html")), "there is no page");
    const html = await soon(() => readFile(join(downloads, file), "utf8"), "the page is empty");
    assert.ok(html.includes("The moon is") && !html.includes(new URL(url).hash.slice(1)));
  },

  async "what is hostile is shown as text"({ look, done, heading, page }) {
    const hostile = `<img src=x onerror="window.bad=1"></script><b>&amp;\u202e\u0000`;
    await look(hostile.replace("\u0000", ""));
    await done();
    assert.ok((await heading())[0].startsWith("<img src=x"));
    assert.equal(await page.evaluate(() => window["bad"]), undefined);
  },

  async "the keyboard alone is enough"({ page, done, says, by }) {
    await soon(async () => (await page.evaluate(() => document.activeElement.getAttribute("aria-label"))) === "prompt", "the prompt has no focus");
    await page.keyboard.type("The cat sat on the");
    await page.keyboard.press("Enter");
    await done();
    await by("grid");
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
    const seen = [];
    for (let left = 60; left && !seen.at(-1)?.startsWith("pin "); left -= 1) {
      await page.keyboard.press("Tab");
      seen.push(await focused());
    }
    for (const each of ["Look", "Decoder", "Stream", "Top", "Generate", "follow", "looks", "Pin beside"]) assert.ok(seen.includes(each), `${each}: ${seen}`);
    await page.keyboard.press("Tab");
    assert.match(await focused(), /^change /);
    await page.keyboard.press("Enter");
    await by("dialog", "change");
    await page.keyboard.press("Escape");
    await soon(async () => /^change /.test(await focused()), "the focus is lost");
    await says("#status", "Done in");
  },

  async "without the token it says what to open"({ page, by, says, complaints }) {
    await by("textbox", "prompt"); // the token was taken, and is kept now
    await page.evaluate(() => localStorage.clear());
    await page.goto(new URL("/", url).href);
    await says("#status", "The token is missing or wrong");
    complaints.length = 0; // the browser tells of the answer, 401
    await page.goto(url);
    await page.reload();
  },
};

await runAll(flows, () => opened());
await browser.close();
