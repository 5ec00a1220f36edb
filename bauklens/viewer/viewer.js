// start(): every figure of a page that holds lenses becomes a viewer.

import { imagesOf, unpack } from "./data.js";
import { make } from "./dom.js";
import { mount } from "./mount.js";
import { keepSource } from "./ownpage.js";
import { padded } from "./padded.js";
import { report } from "./report.js";
import { linked } from "./share.js";

/** Mounts every figure of the page that holds lenses for this viewer, is not mounted yet, and is not in a closed result. */
export function start(version) {
  keepSource();
  keepStyle(version);
  const mountOpen = () => Promise.all(waiting(version).map(open));
  report(mountOpen);
  return mountOpen();
}

/** The figures that can be seen, or will be when scrolled to, and are not mounted. */
function waiting(version) {
  const figures = document.querySelectorAll(`figure.bauklens[data-viewer="${version}"]:not(.mounted, .mounting)`);
  return [...figures].filter((figure) => !figure.closest("details.result:not([open])"));
}

/** Copies the style that an output of a notebook brought: the outputs after it have none, and it may be taken away. */
function keepStyle(version) {
  const found = document.querySelector(`style.bauklens-style[data-viewer="${version}"]`); // the copy, if there is one
  if (found && !document.head.contains(found)) document.head.append(found.cloneNode(true));
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
