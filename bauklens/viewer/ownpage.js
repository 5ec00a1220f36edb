// The page as a file of its own: as it was before any viewer was in it, with what has been chosen since.

import { linked } from "./share.js";
import { written } from "./state.js";

let source = null;
const states = new Map(); // the number of a figure on the page -> its viewer's state, as a function

/** Keeps a page as it is before anything in it is changed, apart and inert; a notebook is not ours to keep. */
export function keepSource() {
  if (document.body.classList.contains("bauklens-page")) source ??= document.implementation.createHTMLDocument().importNode(document.documentElement, true);
}

/** Has a copy of the page hold the state of a viewer. */
export function holdState(number, state) {
  states.set(number, state);
}

/** The HTML of a copy of the page, which opens as the page is seen now; null where the page is not ours. */
export function pageNow() {
  if (source === null) return null;
  const page = /** @type {HTMLElement} */ (source.cloneNode(true));
  page.querySelectorAll("figure.bauklens").forEach((figure, number) => {
    const held = figure.querySelector("script.bauklens-data");
    const given = JSON.parse(held.textContent);
    const state = states.has(number) ? JSON.parse(written(states.get(number)())) : { ...given.state, ...linked(number) }; // a closed result has no viewer yet
    held.textContent = inert({ ...given, state });
  });
  const results = [...document.querySelectorAll("details.result")];
  page.querySelectorAll("details.result").forEach((result, place) => result.toggleAttribute("open", results[place].hasAttribute("open")));
  return `<!doctype html>\n${page.outerHTML}\n`;
}

/** JSON in which nothing can end its script element, or start a comment. */
const inert = (data) => JSON.stringify(data).replace(/[<>&]/g, (each) => `\\u00${each.charCodeAt(0).toString(16)}`);
