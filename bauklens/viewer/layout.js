// The parts of a viewer, and where each is.

import { detail } from "./detail.js";
import { make } from "./dom.js";
import { heat } from "./heat.js";
import { help } from "./help.js";
import { noteList } from "./notelist.js";
import { overview } from "./overview.js";
import { pinBar } from "./pinbar.js";
import { panelTabs } from "./paneltabs.js";
import { pictureView } from "./pictureview.js";
import { printed } from "./printed.js";
import { promptText } from "./prompttext.js";
import { reader } from "./reader.js";
import { search } from "./search.js";
import { tapSheet } from "./tapsheet.js";
import { toolbar } from "./toolbar.js";
import { trajectories } from "./trajectories.js";

/**
 * All parts but the tables -> `{ element, parts, panel, images, whole, focus }`: what is drawn anew when the state changes,
 * what of it is about the cell under the pointer, and what keys lead to.
 */
export function layout(view, tables, number) {
  const keys = help();
  const box = search(view, `bauklens-tokens-${number}-${Math.random().toString(36).slice(2)}`);
  const bar = toolbar(view, box, keys.open);
  const pins = pinBar(view);
  const cell = detail(view);
  const charts = [trajectories(view), heat(view)].map(({ element, draw }) => ({ element, draw: () => view.state.panel === "charts" && draw() }));
  const lines = reader(view);
  const panel = [cell, panelTabs(view), lines, ...charts];
  const side = make("aside", { class: "panel", "aria-label": number ? `cell details ${number + 1}` : "cell details" }, ...panel.map((part) => part.element));
  const images = pictureView(view);
  const whole = overview(view);
  const text = promptText(view);
  const paper = make("div", { class: "printed" });
  const notes = noteList(view);
  const main = make("div", { class: "main" }, images.element, text.element, whole.element, tables.element, paper, notes.element);
  const body = make("div", { class: "body" }, main, side, tapSheet(main, side, cell.element));
  printed(view, paper, tables.lenses);
  const shown = { element: side, draw: () => side.classList.toggle("reading", view.state.panel !== "charts") };
  const element = make("div", { class: "viewer" }, bar.element, pins.element, body, keys.element);
  const focus = { search: box.focus, help: keys.open, cell: () => (view.state.panel === "charts" ? cell : lines).focus(), jump: whole.jump };
  return { element, parts: [bar, pins, images, shown, text, whole, notes, ...panel], panel, images, whole, focus };
}
