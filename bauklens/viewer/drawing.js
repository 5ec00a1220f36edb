// What the charts draw: which tokens, in which lenses or at which positions, and their values.

import { cellOf, cellsOf, keyOf, rowOf, tokenAt } from "./data.js";
import { apartAt } from "./contrast.js";
import { placeIn } from "./groups.js";
import { isWord, measureOf, measuredText, valuesAt } from "./measured.js";
import { probabilityText } from "./numbers.js";
import { bandLeaders, leaders, MOST_LEADERS, pinned } from "./pins.js";
import { DASHES, layersOf, together } from "./siblings.js";
import { shareOf } from "./tally.js";

const SPOKEN = { rank: "rank", log: "log probability", probability: "probability", logit: "logit", difference: "logit difference", share: "part of positions" };

/**
 * `{ lens, row, column, band, what, entries, lead, isPinned, variants, layers }`.
 *
 * `entries` are what lines are of: pins, or what leads; or one difference of two, with `keys`. `variants` are what each is
 * drawn for, { lens, column, dash, name }: several lenses, or the chosen position and those that were kept. `what` is the
 * measure; "share" is that of a band, at what part of its positions a token is at the top.
 */
export function drawing(view) {
  const { state } = view;
  const { lens, row, column, band } = view.seen();
  const what = band ? "share" : measureOf(lens, state);
  const variants = variantsOf(view, lens, column, band);
  const pins = pinned(lens, state);
  const most = Math.max(2, Math.floor(MOST_LEADERS / variants.length));
  const lead = band ? bandLeaders(lens, band, most) : leaders(lens, column, most);
  const top = tokenAt(lens, cellOf(lens, row, column));
  const own = { key: keyOf(lens, top), token: top, shape: "○", colour: "var(--soft)", soft: true };
  const unasked = band || lead.found.some(({ token }) => token === top) ? lead.found : [...lead.found, own];
  const named = (each) => ({ ...each, name: lens.shown[each.token] });
  const entries = (pins.length ? pins : unasked).map(named);
  const two = what === "difference" ? differenceOf(state, entries) : entries;
  return { lens, row, column, band, what, variants, entries: two, lead, isPinned: pins.length > 0, layers: layersOf(variants) };
}

/** Two pins as what is drawn of both; nothing if a lens lacks one. */
function differenceOf({ difference }, pins) {
  const [one, other] = difference.map((key) => pins.find((pin) => pin.key === key));
  if (!one || !other) return [];
  return [{ key: null, keys: difference, pair: [one, other], shape: "", colour: "var(--ink)", name: `${one.name} − ${other.name}` }];
}

function variantsOf(view, lens, column, band) {
  const kept = band ? [] : view.state.kept.map((position) => lens.linked.indexOf(position)).filter((each) => each >= 0 && each !== column);
  if (!kept.length) return together(view, lens).map(({ lens: each, dash }) => ({ lens: each, column, dash, name: each.name }));
  return [column, ...kept].map((each, place) => ({ lens, column: each, dash: DASHES[place], name: `at ${lens.positions[each]} ${lens.tokens[each]}` }));
}

/** An entry's values in some cells of a lens; null where the lens does not hold it. */
function entryValues(entry, lens, cells, what) {
  if (entry.keys) return apartAt(lens, entry.keys, cells);
  const token = placeIn(lens, entry.key);
  return token === undefined ? null : valuesAt(lens, token, cells, what);
}

/** What the values are called. */
export function calledIn({ lens, what, entries }) {
  if (what === "difference" && entries.some(({ pair }) => pair.some(({ token }) => isWord(lens, token)))) return "log probability difference";
  return SPOKEN[what];
}

/** A line for each entry and variant, over the layers of all. */
export function acrossLayers({ entries, variants, layers, band, what }) {
  return linesOf(entries, variants, ({ lens, column }, entry) => {
    const rows = layers.map((layer) => rowOf(lens, layer));
    if (band) return rows.map((row) => (row < 0 ? NaN : shareOf(lens, row, band, placeIn(lens, entry.key))));
    const values = entryValues(entry, lens, rows.filter((row) => row >= 0).map((row) => cellOf(lens, row, column)), what);
    let next = 0;
    return values && rows.map((row) => (row < 0 ? NaN : values[next++]));
  });
}

/** A line for each entry and lens, over the positions at the chosen layer. */
export function acrossPositions({ lens, row, entries, variants, band, what }) {
  const lenses = variants.filter((each, place) => variants.findIndex((other) => other.lens === each.lens) === place);
  return linesOf(entries, lenses, ({ lens: whose }, entry) => {
    const there = rowOf(whose, lens.layers[row]);
    if (there < 0) return null;
    return entryValues(entry, whose, cellsOf(whose, there), band ? "probability" : what);
  });
}

function linesOf(entries, variants, values) {
  const nameOf = (entry, { name }) => (variants.length > 1 ? `${entry.name}, ${name}` : entry.name);
  return entries.flatMap((entry) =>
    variants.flatMap((variant) => {
      const found = values(variant, entry);
      return found ? [{ ...entry, name: nameOf(entry, variant), dash: variant.dash, values: found }] : [];
    }),
  );
}

/** The text of an entry's value in one cell of a variant; a column, if given, takes the place of the variant's own. */
export function textAt({ band, what }, entry, { lens, column }, layer, other = null) {
  const row = rowOf(lens, layer);
  if (row < 0) return "–";
  const token = entry.keys ? null : placeIn(lens, entry.key);
  if (token === undefined) return "–";
  if (band && other === null) return probabilityText(shareOf(lens, row, band, token));
  const shown = band ? "probability" : what;
  const cell = cellOf(lens, row, other ?? column);
  const values = entryValues(entry, lens, [cell], shown);
  return values ? measuredText(lens, token, shown, values[0], cell) : "–";
}
