// The bar of pins: a chip for each, the active one marked, and what is made of several.

import { bestPlaces } from "./best.js";
import { dragging } from "./chipdrag.js";
import { cellOf } from "./data.js";
import { button, make } from "./dom.js";
import { followed } from "./follow.js";
import { placeIn } from "./groups.js";
import { isWord, measuredText } from "./measured.js";
import { probabilityText } from "./numbers.js";
import { pinned } from "./pins.js";
import { combining } from "./pinmenu.js";
import { inOrder, movedBy, movedTo } from "./pinstate.js";
import { worded } from "./words.js";

/** `{ element, draw() }`; without a pin, nothing is shown. */
export function pinBar(view) {
  const list = make("ul", { class: "chips", "aria-label": worded(view.lenses[0], "pinned tokens") });
  const combined = combining(view, () => pinsOf(view));
  const best = bestPlaces(view);
  const element = make("div", { class: "pinbar" }, list, combined.element, best.element);

  function draw() {
    const [pins, { state }] = [pinsOf(view), view];
    const focused = focusIn(list);
    list.replaceChildren(...pins.map(chip), ...(state.difference.length ? [differenceChip(pins)] : []));
    element.hidden = !pins.length;
    combined.element.hidden = pins.length < 2;
    best.draw();
    if (focused) (list.querySelector(`[data-chip="${CSS.escape(focused)}"]`) ?? list.querySelector("button:last-of-type"))?.focus();
  }

  function chip(pin) {
    const isActive = pin.key === view.state.pin;
    const { text, title } = rankOfPin(view, pin);
    const about = `${isActive ? "active: the heat map and colours show it" : "make it the active one"}; drag it, or Alt with an arrow, to move it`;
    const own = { class: "chip", "aria-pressed": String(isActive), "data-chip": String(pin.key), title: `${pin.name}: ${title}. ${about}` };
    const name = button("", () => view.change({ pin: pin.key }), own);
    name.append(make("b", {}, pin.shape), make("bdi", {}, pin.name), make("small", {}, text));
    const away = button("×", () => view.pin(pin.key), { class: "away", "aria-label": `remove ${pin.name}`, title: `remove ${pin.name}` });
    const whole = make("li", { style: { "--pin": pin.colour } }, name, away);
    whole.addEventListener("keydown", (event) => step(event, pin.key));
    return whole;
  }

  function step(event, key) {
    const way = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!way || !event.altKey) return;
    event.preventDefault(); // with Alt, browsers go to another page
    event.stopPropagation();
    view.change(movedBy(view.state, key, way));
  }

  dragging(list, (...places) => {
    const [one, other] = places.map((place) => pinsOf(view)[place]?.key); // the last chip may be a difference
    view.change(movedTo(view.state, one, other));
  });

  function differenceChip(pins) {
    const [one, other] = view.state.difference.map((key) => pins.find((pin) => pin.key === key));
    const isShown = view.state.chart === "difference";
    const name = button("", () => view.change({ chart: isShown ? "rank" : "difference" }), { class: "chip", "aria-pressed": String(isShown), "data-chip": "difference", title: "the difference of their logits, in the charts" });
    const marks = [one, other].map(({ shape, colour }) => make("b", { style: { "--pin": colour } }, shape));
    name.append(marks[0], make("bdi", {}, one.name), "−", marks[1], make("bdi", {}, other.name));
    const drop = { difference: Object.freeze([]), chart: isShown ? "rank" : view.state.chart };
    const away = button("×", () => view.change(drop), { class: "away", "aria-label": "remove the difference", title: "remove the difference" });
    return make("li", { style: { "--pin": "var(--ink)" } }, name, away);
  }
  return { element, draw };
}

/** All pins, also those that only another lens holds, with the place of their shape, and the name. */
function pinsOf({ state, lenses }) {
  const known = new Map(lenses.toReversed().flatMap((lens) => pinned(lens, state).map((pin) => [pin.key, { ...pin, name: lens.shown[pin.token] }])));
  return inOrder(state).flatMap(({ key, place }) => (known.has(key) ? [{ ...known.get(key), place }] : []));
}

/** A pin's rank in the chosen cell. */
function rankOfPin(view, { key }) {
  const { lens, row, column } = view.chosen();
  const token = placeIn(lens, key);
  const whose = view.shown.length > 1 ? ` of ${lens.name}` : "";
  if (token === undefined) return { text: "not known", title: `not in the table${whose}` };
  const [{ rank, probability, source }, cell] = [followed(lens, token), cellOf(lens, row, column)];
  const value = rank[cell];
  if (isWord(lens, token)) return { text: `p ${probabilityText(probability[cell])}`, title: `probability in the chosen cell${whose}; a word of several tokens has no rank` };
  const beyond = source === "coarse" ? ` beyond rank ${lens.tracked.limit}` : source === "top" ? ` outside the top ${lens.topk}` : "";
  if (Number.isNaN(value)) return { text: "not known", title: `its rank is not known${beyond} in the chosen cell${whose}` };
  const text = measuredText(lens, token, "rank", value, cell);
  return { text: `rank ${text}`, title: `rank ${text} in the chosen cell${whose}` };
}

/** The chip that has the focus, if one has, or is next to what has it. */
function focusIn(list) {
  const focused = /** @type {HTMLElement} */ (list.querySelector(":focus"));
  return focused && (focused.dataset.chip ?? /** @type {HTMLElement} */ (focused.previousElementSibling)?.dataset.chip);
}
