// A real browser, driven over WebDriver BiDi, and patience with it.

import assert from "node:assert/strict";

import puppeteer from "puppeteer-core";

const [TRIES, PAUSE] = [100, 50]; // how often, and after how many ms, what follows an event is looked for again

/** Chrome or Firefox; what it downloads goes into a folder. */
export async function launched(name, executablePath, downloads) {
  const args = name === "chrome" ? ["--no-sandbox", "--disable-gpu"] : [];
  const browser = await puppeteer.launch({ browser: name, executablePath, protocol: "webDriverBiDi", headless: true, args });
  const downloadBehavior = { type: "allowed", destinationFolder: downloads };
  await browser.connection.send("browser.setDownloadBehavior", { downloadBehavior });
  return browser;
}

/** What a function returns, as soon as it returns something; else an error. */
export async function soon(value, what, tries = TRIES) {
  for (let left = tries; left; left -= 1) {
    const found = await value();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return assert.fail(what);
}

/** Runs flows one after another, each on a page of its own; a line of JSON tells how each went. */
export async function runAll(flows, opened) {
  for (const [flow, run] of Object.entries(flows)) {
    const began = Date.now();
    try {
      const page = await opened(flow);
      await run(page);
      await page.end();
      console.log(JSON.stringify({ flow, error: null, ms: Date.now() - began }));
    } catch (error) {
      console.log(JSON.stringify({ flow, error: error.stack, ms: Date.now() - began }));
    }
  }
}
