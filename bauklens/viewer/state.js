// What a person has chosen: one frozen value, that can be written as JSON and read again.

export const START = Object.freeze({
  show: "0", // the lens that is shown, by its number; "beside", or "difference"
  layer: "", // the chosen cell
  position: -1,
  pins: Object.freeze([]), // keys of tokens, see data.keyOf; null where one was taken away
  pin: null, // the one that the heat map shows, and the colours that are of a token
  colour: "both",
  chart: "probability",
  stride: 1,
  width: 76, // pixels of a column
  bottomUp: false,
  layersAcross: false,
  hideBlank: false,
  theme: "system",
});

export const MOST_PINS = 6;
export const WIDTHS = [44, 260];

const TYPES = Object.fromEntries(Object.entries(START).map(([name, value]) => [name, typeof value]));

/** The state of a viewer that has just been opened: at the last layer and position. */
export function opened(lenses, given = {}) {
  const [lens] = lenses;
  const last = { layer: lens.layers.at(-1), position: lens.positions.at(-1) };
  return changed({ ...START, ...last }, restored(given, lenses));
}

/** The state with some of it changed. */
export function changed(state, change) {
  return Object.freeze({ ...state, ...change });
}

/** What can be trusted of a state that was written elsewhere. */
export function restored(given, lenses) {
  const kept = {};
  for (const [name, kind] of Object.entries(TYPES)) if (typeof given?.[name] === kind) kept[name] = given[name];
  const held = (key) => lenses.some((lens) => lens.places.has(key));
  delete kept.pins;
  delete kept.pin;
  if (Array.isArray(given?.pins)) {
    kept.pins = Object.freeze(given.pins.filter(held).slice(0, MOST_PINS));
    kept.pin = kept.pins.includes(given.pin) ? given.pin : (kept.pins.at(-1) ?? null);
  }
  if (!lenses.some((lens) => lens.layers.includes(kept.layer))) delete kept.layer;
  if (!lenses.some((lens) => lens.positions.includes(kept.position))) delete kept.position;
  if (!["beside", "difference"].includes(kept.show) && !lenses[kept.show]) delete kept.show;
  if (!(kept.stride >= 1)) delete kept.stride;
  if (!(kept.width >= WIDTHS[0] && kept.width <= WIDTHS[1])) delete kept.width;
  return kept;
}

/** What differs from the start, as JSON. */
export function written(state) {
  const told = Object.entries(state).filter(([name, value]) => name in START && value !== START[name]);
  return JSON.stringify(Object.fromEntries(told));
}

/** A pin set or taken away: the others keep their places, and so their colours; the first goes where all are taken. */
export function toggled(state, key) {
  if (state.pins.includes(key)) {
    const pins = state.pins.map((pin) => (pin === key ? null : pin));
    while (pins.length && pins.at(-1) === null) pins.pop();
    return { pins: Object.freeze(pins), pin: pins.findLast((pin) => pin !== null) ?? null };
  }
  const free = [...state.pins, null].indexOf(null);
  const pins = [...state.pins];
  pins[free < MOST_PINS ? free : 0] = key;
  return { pins: Object.freeze(pins), pin: key };
}
