// A viewer in the live page.

import { make } from "./dom.js";

const OWN = ["show", "layer", "position", "band", "notes"]; // of what was chosen, what belongs to one table

/** An element that holds the figure of some HTML, and becomes a viewer as soon as it is in the page. */
export function mounted(html, state) {
  const host = make("div", { class: "viewing" });
  host.innerHTML = html; // the server's own; no script in it runs
  const figure = host.querySelector("figure");
  figure.dataset.live = "";
  const held = figure.querySelector("script.bauklens-data");
  const given = JSON.parse(held.textContent);
  const kept = Object.fromEntries(Object.entries(state).filter(([name]) => !OWN.includes(name)));
  held.textContent = JSON.stringify({ ...given, state: { ...kept, ...given.state } });
  queueMicrotask(() => globalThis[Symbol.for(`bauklens ${figure.dataset.viewer}`)]());
  return host;
}
