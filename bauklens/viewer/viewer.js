// start(): every figure of a page that holds lenses becomes a viewer.

import { imagesOf, unpack } from "./data.js";
import { make } from "./dom.js";
import { mount } from "./mount.js";
import { padded } from "./padded.js";
import { linked } from "./share.js";

/** Mounts every figure of the page that holds lenses for this viewer and is not mounted yet. */
export function start(version) {
  const figures = document.querySelectorAll(`figure.bauklens[data-viewer="${version}"]:not(.mounted, .mounting)`);
  return Promise.all([...figures].map(open));
}

async function open(figure) {
  figure.classList.add("mounting");
  const number = [...document.querySelectorAll("figure.bauklens")].indexOf(figure);
  try {
    const given = JSON.parse(figure.querySelector("script.bauklens-data").textContent);
    const images = imagesOf(figure);
    const lenses = await Promise.all(given.lenses.map(async (each) => padded(await unpack(each, images))));
    mount(figure, lenses, { ...given.state, ...linked(number) }, number);
  } catch (error) {
    const said = `The viewer could not start, so you see the static table: ${error.message}`;
    figure.append(make("p", { class: "failed" }, said));
  } finally {
    figure.classList.remove("mounting");
  }
}
