// What the model predicts, as texts of the viewer call it: tokens, or a classifier's labels.

/** A text about tokens, of labels if these are what the lens's model predicts. */
export const worded = (lens, text) => (lens.predicts === "labels" ? text.replace(/\btoken(?=s?\b)/g, "label") : text);
