// What is known of one cell: its top k, each with its pin, and its measures.

import { attentionDetail } from "./attentiondetail.js";
import { bandDetail } from "./banddetail.js";
import { cellMeasures } from "./cellmeasures.js";
import { changeButton } from "./changes.js";
import { cellOf, isAbsent, keyOf, probabilityAt, rowOf, tokenAt } from "./data.js";
import { button, make } from "./dom.js";
import { editedThere } from "./edited.js";
import { atOrAfter, nameOver, tokensOver } from "./heads.js";
import { noteField } from "./notefield.js";
import { probabilityText } from "./numbers.js";
import { leadsFrom, pinned } from "./pins.js";
import { siblings } from "./siblings.js";
import { placeOfTarget } from "./targets.js";
import { layerCalled, worded } from "./words.js";

const FOCUSED = ".pin, .edit, .term"; // what has the focus again after the cell was drawn

/** `{ element, draw() }`: of the cell under the pointer, or of the chosen one. */
export function detail(view) {
  const place = make("h3", { class: "place" });
  const tops = make("div");
  const measures = make("dl", { class: "measures" });
  const leads = make("p", { class: "told", "aria-live": "polite" });
  const note = noteField(view);
  const attention = attentionDetail(view);
  const element = make("div", { class: "detail", role: "group", "aria-label": "selected cell" }, place, tops, leads, note.element, attention.element, measures);

  function draw() {
    note.draw();
    const { lens, row, column, band } = view.seen();
    const [layer, position] = [lens.layers[row], lens.positions[column]];
    const places = (view.pair ?? [lens]).map((each) => [each, rowOf(each, layer)]).filter(([each, there]) => there >= 0 && !isAbsent(each, column));
    const several = places.map(([each]) => each);
    const isNamed = view.shown.length > 1;
    const focused = [...element.querySelectorAll(FOCUSED)].indexOf(document.activeElement);
    const at = layer === "embed" ? "embedding" : `layer ${layer}`;
    place.replaceChildren(
      make("span", {}, band ? `${band.name}, ${band.size}` : `${atOrAfter(lens, column)} ${tokensOver(several, column)}`),
      make("small", {}, band ? `${at}, positions ${position} to ${lens.positions[band.last]}` : `${at}, position ${position}${editedThere(places, column)}`),
    );
    place.title = nameOver(lens, column);
    attention.draw(band ? [] : places, column, isNamed);
    if (band) {
      tops.replaceChildren(...bandDetail(view, lens, band, places, { isNamed, tokenLine }));
      measures.replaceChildren();
      leads.textContent = "";
      return;
    }
    tops.replaceChildren(...places.flatMap(([each, there]) => topOf(each, cellOf(each, there, column), isNamed)));
    measures.replaceChildren(...places.flatMap(([each, there]) => measuresOf(each, cellOf(each, there, column), isNamed)));
    element.querySelectorAll(FOCUSED)[focused]?.focus();
    const told = view.pair || !isNamed ? several : siblings(view.lenses, lens).map((each) => each.lens);
    const said = told.map((each) => sentence(each, column, isNamed)).join(" ").trim();
    if (leads.textContent !== said) leads.textContent = said; // it is read out
  }

  function topOf(lens, cell, isNamed) {
    const pins = new Map(pinned(lens, view.state).map((pin) => [pin.token, pin]));
    const ranks = Array.from({ length: lens.topk }, (_, rank) => rank);
    const list = make("ol", { class: "tops" }, ...ranks.map((rank) => line(lens, cell, rank, pins)));
    return isNamed ? [make("p", { class: "whose" }, make("bdi", {}, lens.name)), list] : [list];
  }

  function line(lens, cell, rank, pins) {
    const probability = probabilityAt(lens, cell, rank);
    return tokenLine(lens, tokenAt(lens, cell, rank), pins, probability, probabilityText(probability));
  }

  function tokenLine(lens, token, pins, share, number) {
    const text = lens.shown[token];
    const bar = make("span", { class: "bar", style: { "--p": share.toFixed(4) } });
    const name = make("bdi", { class: "token", title: `${text}${lens.ids ? `, id ${lens.ids[token]}` : ""}` }, text);
    return make("li", {}, pinButton(lens, token, pins.get(token)), name, bar, make("span", { class: "number" }, number), ...changeButton(view, lens, token));
  }

  function pinButton(lens, token, pin) {
    return button(pin?.shape ?? "○", () => view.pin(keyOf(lens, token)), {
      class: "pin",
      "aria-pressed": String(Boolean(pin)),
      "aria-label": `pin ${lens.shown[token]}`,
      title: worded(lens, pin ? "unpin this token" : "pin this token to follow it through the layers"),
      style: pin ? { "--pin": pin.colour } : {},
    });
  }

  function measuresOf(lens, cell, isNamed) {
    const whose = isNamed ? [make("dt", { class: "whose" }, make("bdi", {}, lens.name)), make("dd")] : [];
    const pins = new Map(pinned(lens, view.state).map((pin) => [pin.token, pin]));
    const followed = lens.targets.flatMap((target) => [
      make("dt", {}, ...pinOf(lens, target, pins), make("bdi", {}, target.shown)),
      make("dd", {}, `${probabilityText(target.probability[cell])}${rankText(target.rank[cell])}`),
    ]);
    return [...whose, ...followed, ...cellMeasures(lens, cell)];
  }

  /** A target is pinned like any token. */
  function pinOf(lens, target, pins) {
    const token = placeOfTarget(lens, target);
    return token === undefined ? [] : [pinButton(lens, token, pins.get(token))];
  }

  /** Which of the pinned tokens leads at the end of a position, if one does, and from which layer on. */
  function sentence(lens, column, isNamed) {
    const pins = pinned(lens, view.state);
    const leader = pins.find(({ token }) => leadsFrom(lens, token, column) !== null);
    if (!leader) return "";
    const said = `${leader.shape} ${lens.shown[leader.token]} leads from ${layerCalled(lens, leadsFrom(lens, leader.token, column))} on.`;
    return isNamed ? `${lens.name}: ${said}` : said;
  }

  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    view.home();
  });
  return { element, draw, focus: () => tops.querySelector("button")?.focus() };
}

const rankText = (rank) => (Number.isNaN(rank) ? "" : `, rank ${rank.toLocaleString("en")}`);
