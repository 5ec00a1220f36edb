// Lenses of the same states through other decoders, or the two of a comparison, whose values are drawn in one chart.

/** How lines are drawn that are of one token, in several lenses or at several positions. */
export const DASHES = ["", "5 3", "1.5 2.5", "9 3 1.5 3", "14 4", "9 2.5 1.5 2.5 1.5 2.5"];

const MOST = DASHES.length; // lenses in one chart, as many as are shown side by side

/** The lenses that differ from one by their decoder alone, or are compared with it, itself among them, each with its dash; at most six. */
export function siblings(lenses, lens) {
  const same = ({ model, stream, linked, paired }) =>
    paired && (lens.compared || (model === lens.model && stream === lens.stream)) && isOfSame(linked, lens.linked);
  const found = lenses.filter(same);
  const names = new Set(found.map(({ decoder }) => decoder));
  const alone = !found.includes(lens) || (names.size < found.length && !lens.compared) || found.length > MOST;
  return (alone ? [lens] : found).map((each, place) => ({ lens: each, dash: DASHES[place] }));
}

/** Whether positions, which may be very many, are the same. */
const isOfSame = (one, other) => one === other || String(one) === String(other);

/**
 * The lenses that are drawn in one chart with one: those of other decoders; else those that are shown with it, as models or
 * streams are side by side, if their positions are the same.
 */
export function together(view, lens) {
  const found = siblings(view.lenses, lens);
  const fits = ({ paired, linked }) => paired && isOfSame(linked, lens.linked);
  const isSeveral = found.length === 1 && view.shown.length > 1 && view.shown.length <= MOST && view.shown.every(fits);
  return isSeveral ? view.shown.map((each, place) => ({ lens: each, dash: DASHES[place] })) : found;
}

/** The layers of all of them, each once, in order; of two that none of them has together, the lower number first. */
export function layersOf(several) {
  let left = several.map(({ lens }) => lens.layers);
  const joined = [];
  while ((left = left.filter(({ length }) => length)).length) {
    const free = left.map(([first]) => first).filter((first) => left.every((each) => each.indexOf(first) < 1));
    const next = (free.length ? free : left.map(([first]) => first)).sort((one, other) => placeOf(one) - placeOf(other))[0];
    joined.push(next);
    left = left.map((each) => each.filter((layer) => layer !== next));
  }
  return joined;
}

const placeOf = (layer) => (/^\d+$/.test(layer) ? Number(layer) : -1);
