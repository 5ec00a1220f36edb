// What a person has chosen: one frozen value, that can be written as JSON and read again.

import { idsOf, openAtFirst } from "./bands.js";
import { keyOf } from "./data.js";
import { restoredNotes } from "./notes.js";
import { MOST_PINS, restoredPins } from "./pinstate.js";
import { placeOfTarget } from "./targets.js";
import { USUAL, usualWidth, WIDTHS } from "./widths.js";

export const START = Object.freeze({
  show: "0", // the lens that is shown, by its number; "beside"; or two that are compared: "difference", "0-2"
  layer: "", // the chosen cell
  position: -1,
  band: false, // whether the whole band of that position is chosen
  open: Object.freeze([]), // the bands whose columns are shown, by the positions of their first columns
  picture: 0, // the picture that is shown
  imagery: 0.75, // how much of the image is seen through the lens, 0..1
  patches: "pin", // what is shown of it: the pinned token if there is one, or the top tokens
  pins: Object.freeze([]), // keys of tokens, see data.keyOf, and of sums, see groups.js; null where one was taken away
  pin: null, // the active one, which the heat map shows, and the colours that are of a token
  order: Object.freeze([]), // keys of pins in the order that they were put in
  difference: Object.freeze([]), // two pins, the second of which is taken from the first
  kept: Object.freeze([]), // positions that charts show beside the chosen one
  notes: Object.freeze([]), // pinned to cells: [layer, position, text] each
  colour: "both",
  panel: "charts", // what the panel shows below the cell: charts, or the reader, by layers or by positions
  chart: "rank",
  jump: "surprisal",
  attentionHead: -1, // whose attention is shown; -1 is the mean over heads
  stride: 1,
  width: USUAL, // pixels of a column
  bottomUp: false,
  layersAcross: false,
  hideBlank: false,
  wordsOnly: false,
  theme: "system",
});

/** How many positions charts show beside the chosen one. */
export const MOST_KEPT = 3;

const TYPES = Object.fromEntries(Object.entries(START).map(([name, value]) => [name, typeof value]));
const CHOICES = { panel: ["charts", "layers", "positions"], jump: ["surprisal", "entropy", "decided"], patches: ["pin", "top"], chart: ["rank", "log", "probability", "logit", "difference"], theme: ["system", "light", "dark"] };

/** The state of a viewer that has just been opened: at the last layer, and the position to look at first. */
export function opened(lenses, given = {}) {
  const [lens] = lenses;
  const whole = lens.pictures.findIndex(({ name }) => name.endsWith(", whole")); // beside the tiles that it was cut into
  const last = { layer: lens.layers.at(-1), position: lens.mainPosition ?? lens.linked.at(-1), picture: Math.max(0, whole) };
  const kept = restored(given, lenses);
  const { position, band, show } = { ...START, ...last, ...kept };
  return changed({ ...START, ...last, width: widthOf(lenses, show), open: openAtFirst(lenses, position, band), ...asked(lens) }, kept);
}

/** What a lens was asked to follow is pinned. */
function asked(lens) {
  const places = lens.targets.map((target) => placeOfTarget(lens, target)).filter((place) => place !== undefined);
  const keys = places.map((place) => keyOf(lens, place));
  const pins = [...new Set(keys)].slice(0, MOST_PINS);
  return { pins: Object.freeze(pins), pin: pins[0] ?? null };
}

/** The state with some of it changed. */
export function changed(state, change) {
  return Object.freeze({ ...state, ...change });
}

/** What can be trusted of a state that was written elsewhere. */
export function restored(given, lenses) {
  const kept = {};
  for (const [name, kind] of Object.entries(TYPES)) if (typeof given?.[name] === kind) kept[name] = given[name];
  for (const name of ["pins", "pin", "order", "difference", "kept", "open", "notes"]) delete kept[name];
  Object.assign(kept, restoredPins(given, lenses), restoredNotes(given, lenses));
  if (Array.isArray(given?.kept)) kept.kept = Object.freeze([...new Set(given.kept)].filter((each) => lenses.some((lens) => lens.linked.includes(each))).slice(0, MOST_KEPT));
  if (Array.isArray(given?.open)) kept.open = Object.freeze(idsOf(lenses).filter((id) => given.open.includes(id)));
  if (!(lenses[0].pictures[kept.picture] ?? null)) delete kept.picture;
  if (!lenses.some((lens) => lens.layers.includes(kept.layer))) delete kept.layer;
  if (!lenses.some((lens) => lens.linked.includes(kept.position))) delete kept.position;
  if (!idsOf(lenses).includes(kept.position)) delete kept.band;
  if (!shows(lenses).includes(kept.show)) delete kept.show;
  for (const [name, known] of Object.entries(CHOICES)) if (!known.includes(kept[name])) delete kept[name];
  if (!(Number.isInteger(kept.stride) && kept.stride >= 1)) delete kept.stride;
  if (!(kept.imagery >= 0 && kept.imagery <= 1)) delete kept.imagery;
  if (!(kept.width >= WIDTHS[0] && kept.width <= WIDTHS[1])) delete kept.width;
  return kept;
}

/** Everything that was chosen, as JSON. */
export const written = (state) => JSON.stringify(Object.fromEntries(Object.keys(START).map((name) => [name, state[name]])));

const MOST_BESIDE = 6; // lenses side by side

/** What can be shown of several lenses: one of them; all side by side, if they are not too many; and any two compared. */
export function shows(lenses) {
  const several = lenses.map((_, place) => String(place));
  if (lenses.length < 2 || lenses.length > MOST_BESIDE) return several;
  const pairs = lenses.length === 2 ? ["difference"] : several.flatMap((one, place) => several.slice(place + 1).map((other) => `${one}-${other}`));
  return [...several, "beside", ...(lenses[0].paired ? pairs : [])];
}

/** Whether two lenses are compared. */
export const isPair = (show) => show === "difference" || /^\d-\d$/.test(show);

/** The two lenses that are compared; null where none are. */
export function pairOf(lenses, show) {
  if (!isPair(show)) return null;
  return show === "difference" ? lenses : show.split("-").map((place) => lenses[place]);
}

/** What is shown becomes another; columns get the width that it needs, unless they were made wider or narrower. */
export function showing(show, state, lenses) {
  return { show, width: state.width === widthOf(lenses, state.show) ? widthOf(lenses, show) : state.width };
}

const widthOf = (lenses, show) => usualWidth(pairOf(lenses, show) ?? (lenses[show] ? [lenses[show]] : lenses), isPair(show));
