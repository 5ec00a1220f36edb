// Notes that are pinned to cells, in a state: [layer, position, text] each, plain text.

export const MOST_NOTES = 200;
export const LONGEST_NOTE = 500; // characters

const isOf = (layer, position) => ([one, other]) => one === layer && other === position;

/** The note on a cell; an empty text where there is none. */
export const noteOn = (state, layer, position) => state.notes.find(isOf(layer, position))?.[2] ?? "";

/** A note written, changed, or taken away by an empty text: what changes of the state. */
export function noted(state, layer, position, text) {
  const place = state.notes.findIndex(isOf(layer, position));
  const note = noteOf(layer, position, text);
  if (!note) return { notes: Object.freeze(state.notes.filter((_, each) => each !== place)) };
  if (place >= 0) return { notes: Object.freeze(state.notes.with(place, note)) };
  return state.notes.length < MOST_NOTES ? { notes: Object.freeze([...state.notes, note]) } : {};
}

/** What can be trusted of the notes of a state that was written elsewhere: one a cell, of cells that there are. */
export function restoredNotes(given, lenses) {
  if (!Array.isArray(given?.notes)) return {};
  const kept = new Map();
  for (const each of given.notes) {
    const [layer, position, text] = Array.isArray(each) ? each : [];
    const isCell = lenses.some((lens) => lens.layers.includes(layer) && lens.linked.includes(position));
    const note = isCell && typeof text === "string" && noteOf(layer, position, text);
    if (note && kept.size < MOST_NOTES) kept.set(`${layer} ${position}`, note);
  }
  return { notes: Object.freeze([...kept.values()]) };
}

function noteOf(layer, position, text) {
  return text.trim() ? Object.freeze([layer, position, [...text].slice(0, LONGEST_NOTE).join("")]) : null;
}
