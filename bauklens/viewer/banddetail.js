// What is known of a band of columns in one row: what is at the top at most of its positions.

import { countOf, isOpen } from "./bands.js";
import { button, make } from "./dom.js";
import { pinned } from "./pins.js";
import { tally } from "./tally.js";
import { worded } from "./words.js";

const MOST_TOLD = 8; // tokens of a band

/**
 * Elements: a button that opens or folds the band, and a list of tokens for each lens.
 *
 * @param places lenses, each with its row
 * @param tokenLine (lens, token, pins, share, number) -> an entry of the list
 */
export function bandDetail(view, lens, band, places, { isNamed, tokenLine }) {
  const text = isOpen(lens, view.state, band) ? "Fold its columns" : `Open its ${countOf(band)} columns`;
  const fold = button(text, () => view.fold(lens, band), { class: "open" });
  return [fold, ...places.flatMap(([each, row]) => topsOfBand(view, each, row, band, isNamed, tokenLine))];
}

function topsOfBand(view, lens, row, band, isNamed, tokenLine) {
  const pins = new Map(pinned(lens, view.state).map((pin) => [pin.token, pin]));
  const [found, count] = [tally(lens, row, band), countOf(band)];
  const lines = found.slice(0, MOST_TOLD).map(([token, times]) => tokenLine(lens, token, pins, times / count, String(times)));
  const others = found.length > MOST_TOLD ? ` (${MOST_TOLD} of ${found.length})` : "";
  const whose = isNamed ? [make("p", { class: "whose" }, make("bdi", {}, lens.name))] : [];
  const about = worded(lens, `Top tokens${others}, and how often each occurs at its ${count} positions:`);
  return [...whose, make("p", { class: "note" }, about), make("ol", { class: "tops" }, ...lines)];
}
