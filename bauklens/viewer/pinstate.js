// What a state holds of pins: which there are, in which order, the one that is active, and the difference of two.

import { placeIn } from "./groups.js";

export const MOST_PINS = 8;

/** Pins as they are ordered: { key, place }; the place is that of its shape and colour. */
export function inOrder({ pins, order = [] }) {
  const found = pins.map((key, place) => ({ key, place })).filter(({ key }) => key !== null);
  const at = ({ key }) => (order.includes(key) ? order.indexOf(key) : order.length);
  return found.sort((one, other) => at(one) - at(other));
}

/** A pin set or taken away: the others keep their places, and so their colours; where all are taken, the last goes. */
export function toggled(state, key) {
  if (state.pins.includes(key)) {
    const pins = trimmed(state.pins.map((pin) => (pin === key ? null : pin)));
    const isActive = state.pin === key || !pins.includes(state.pin);
    return { pins, pin: isActive ? (pins.findLast((pin) => pin !== null) ?? null) : state.pin, ...without(state, pins) };
  }
  const free = [...state.pins, null].indexOf(null);
  const pins = [...state.pins];
  pins[Math.min(free, MOST_PINS - 1)] = key;
  return { pins: Object.freeze(pins), pin: key, ...without(state, pins) };
}

/** A pin moved by so many places in the order. */
export function movedBy(state, key, step) {
  const keys = inOrder(state).map((pin) => pin.key);
  const from = keys.indexOf(key);
  const to = Math.max(0, Math.min(keys.length - 1, from + step));
  if (from < 0 || from === to) return {};
  keys.splice(to, 0, ...keys.splice(from, 1));
  return { order: Object.freeze(keys) };
}

/** A pin moved to where another is. */
export function movedTo(state, key, other) {
  const keys = inOrder(state).map((pin) => pin.key);
  return keys.includes(key) && keys.includes(other) ? movedBy(state, key, keys.indexOf(other) - keys.indexOf(key)) : {};
}

/** What can be trusted of the pins of a state that was written elsewhere. */
export function restoredPins(given, lenses) {
  if (!Array.isArray(given?.pins)) return {};
  const held = (key) => lenses.filter((lens) => placeIn(lens, key) !== undefined).length > 0; // a sum gets a place in each
  const pins = trimmed(given.pins.slice(0, MOST_PINS).map((key, place, all) => (held(key) && all.indexOf(key) === place ? key : null)));
  const kept = { pins, pin: held(given.pin) && pins.includes(given.pin) ? given.pin : (pins.findLast(held) ?? null) };
  const isPin = (key) => key !== null && pins.includes(key);
  if (Array.isArray(given.order)) kept.order = Object.freeze([...new Set(given.order.filter(isPin))]);
  if (Array.isArray(given.difference)) {
    const [one, other, ...more] = given.difference;
    kept.difference = Object.freeze(isPin(one) && isPin(other) && one !== other && !more.length ? [one, other] : []);
  }
  return kept;
}

/** The order and the difference without pins that are gone. */
function without({ order, difference }, pins) {
  const isWhole = difference?.every((key) => pins.includes(key));
  return { order: Object.freeze((order ?? []).filter((key) => pins.includes(key))), difference: isWhole ? difference : Object.freeze([]) };
}

function trimmed(pins) {
  const kept = [...pins];
  while (kept.length && kept.at(-1) === null) kept.pop();
  return Object.freeze(kept);
}
