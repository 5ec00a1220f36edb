// Lenses of the same states through other decoders, whose values are drawn in one chart.

const DASHES = ["", "5 3", "1.5 2.5"]; // how each one's lines are drawn

/** The lenses that differ from one by their decoder alone, itself among them, each with its dash; at most three. */
export function siblings(lenses, lens) {
  const same = ({ model, stream, linked, paired }) =>
    paired && model === lens.model && stream === lens.stream && String(linked) === String(lens.linked);
  const found = lenses.filter(same);
  const names = new Set(found.map(({ decoder }) => decoder));
  const alone = names.size < found.length || found.length > DASHES.length;
  return (alone ? [lens] : found).map((each, place) => ({ lens: each, dash: DASHES[place] }));
}

/** The layers of all of them, in order: those of the one that has the most. */
export const layersOf = (several) => several.map(({ lens }) => lens.layers).sort((one, other) => other.length - one.length)[0];
