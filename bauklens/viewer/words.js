// What a lens's model predicts, as texts of the viewer call it: tokens, or a classifier's labels; and where it does so.

/** A text about tokens, of labels if these are what the lens's model predicts. */
export const worded = (lens, text) => (isOfLabels(lens) ? text.replace(/\btoken(?=s?\b)/g, "label") : text);

/** Whether a lens is of a classifier. */
export const isOfLabels = (lens) => lens.predicts === "labels";

/** A layer in a sentence: "layer 3", or "the embedding". */
export const layerCalled = (lens, row) => (lens.layers[row] === "embed" ? "the embedding" : `layer ${lens.layers[row]}`);

/** Whether the model returns logits of another position only, so that nothing of its own confirms a column, in any of the lenses. */
export const isUnread = (lenses, column) => lenses.every((lens) => (lens.onlyPosition ?? null) !== null && lens.positions[column] !== lens.onlyPosition);

/** What a legend says of such columns. */
export function aboutUnread(lenses) {
  if (!lenses[0].positions.some((_, column) => isUnread(lenses, column))) return [];
  const read = [...new Set(lenses.map((lens) => lens.onlyPosition))].join(" or ");
  return [`grey: no output of the model confirms these columns, as its head reads only position ${read}`];
}
