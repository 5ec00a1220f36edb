// The head and the cells of a band of columns: what is at the top at most of its positions, and the means of their colours.

import { bandOf, columnsOf, countOf, isOpen } from "./bands.js";
import { shortened } from "./cells.js";
import { cellOf, probabilityAt } from "./data.js";
import { make } from "./dom.js";
import { changeText, probabilityText } from "./numbers.js";
import { counted, tops } from "./tally.js";
import { worded } from "./words.js";

const TOLD = 4; // tokens that a cell tells on hover

/** The end of a name that has several parts, such as "tile 3" of "image 1, tile 3". */
export const partOfName = (name) => name.replace(/^.*, /, "");

/** The head of a band; a click opens or folds it. */
export function bandHead(role, lens, state, entry) {
  const band = bandOf(lens, entry);
  const open = isOpen(lens, state, band);
  const [from, to] = [lens.positions[band.first], lens.positions[band.last]];
  const title = `${band.name}, ${band.size}: positions ${from} to ${to}; click or press Enter to ${open ? "fold" : "open"}`;
  const mark = make("span", { class: "fold", "aria-hidden": "true" }, open ? "▾ " : "▸ ");
  const head = make("div", { class: "head position part band", role, title, "aria-expanded": String(open) });
  head.append(make("i", {}, mark, make("bdi", {}, partOfName(band.name))), make("bdi", {}, band.size));
  return Object.assign(head, { band, columns: columnsOf(band), hint: title });
}

/** A cell of a band. */
export function bandCell(lenses, state, row, entry, content) {
  const [lens] = lenses;
  const band = bandOf(lens, entry);
  const [found, count] = [tops(lenses, row, band), countOf(band)];
  const cells = columnsOf(band).map((column) => content.of(row, column));
  const first = content.of(row, found[0][0]);
  const known = cells.filter(({ none }) => !none);
  const mean = (name) => shortened(known.reduce((sum, each) => sum + each[name], 0) / (known.length || 1));
  const mark = leading(cells);
  const edited = cells.filter((each) => each.edited);
  const change = first.change === undefined ? null : changeOf(known);
  const average = columnsOf(band).reduce((sum, column) => sum + probabilityAt(lens, cellOf(lens, row, column)), 0) / count;
  const style = { "--p": change ? change.p : mean("p"), "--m": mean("m"), ...(mark ? { "--pin": mark.colour } : {}) };
  const leads = mark && first.mark?.rank === 1 && first.mark.key === mark.key;
  const kind = ["cell", "band", leads ? "leads" : mark && "follows", known.length ? "" : "none", cells.every(({ unread }) => unread) && "unread", edited.length && "edited", change?.side].filter(Boolean).join(" ");
  const told = found.slice(0, TOLD).map(([column, times]) => `${content.of(row, column).text} at ${times}`);
  const others = found.length > TOLD ? `, ${found.length - TOLD} others` : "";
  const title = worded(lens, `${band.name}, layer ${lens.layers[row]}: of its ${count} positions the top token is ${told.join(", ")}${others}; colours are means`);
  const named = { "data-layer": lens.layers[row], "data-band": lens.positions[band.first], "data-pin": mark?.shape, title };
  const text = [make("i", {}, String(found[0][1])), " ", make("bdi", {}, change ? change.text : first.text)];
  const said = `${found[0][1]} ${first.text}: ${title}; their mean probability is ${probabilityText(average)}${edited.length ? `; edited at ${edited.length} of them` : ""}`;
  const cell = make("div", { class: kind, role: "gridcell", tabindex: "-1", style, "aria-label": said, "aria-expanded": String(isOpen(lens, state, band)), ...named }, ...text);
  return Object.assign(cell, { place: [row, entry], said, hint: title });
}

/** Of the pinned tokens in a row's cells the one that leads most of them, or else one that follows. */
function leading(cells) {
  const marks = cells.map(({ mark }) => mark).filter(Boolean);
  const leads = marks.filter(({ rank }) => rank === 1);
  const among = leads.length ? leads : marks;
  const most = counted(among.map(({ key }) => key))[0]?.[0];
  return among.find(({ key }) => key === most) ?? null;
}

/** The mean of changes, which have a sign. */
function changeOf(cells) {
  const mean = (of) => cells.reduce((sum, each) => sum + of(each), 0) / (cells.length || 1);
  const signed = mean(({ p, side }) => (side === "less" ? -p : p));
  return { p: shortened(Math.abs(signed)), side: signed < 0 ? "less" : "more", text: changeText(mean(({ change }) => change)) };
}

/** What a legend says of bands. */
export const aboutBands = ([lens]) =>
  lens.bands.length ? [worded(lens, `column of ${lens.bands[0].name}${lens.bands.length > 1 ? " and others" : ""}: the most frequent top token, and how often it occurs; colours are means`)] : [];
