// What the two charts are of, and what they mark: across layers, and across positions.

/** What the lines of each chart are of, as texts: charts of the same differ only in what they mark. */
export function chartSubjects(view, { lens, row, column, band, what, entries, variants }) {
  const number = (each) => view.lenses.indexOf(each);
  const tokens = entries.map(({ key, keys, shape, soft }) => [key, keys, shape, soft]);
  const shared = [number(lens), what, band?.first, tokens, view.shown.map(number)];
  const columns = variants.map((each) => [number(each.lens), each.column, each.name]);
  const lenses = variants.length > 1 ? columns : variants.map((each) => number(each.lens)); // names of lines
  return [[shared, column, columns], [shared, row, lenses]].map((each) => JSON.stringify(each));
}

/** The places that each chart marks, the chosen one first. */
export function chartMarks(view, { lens, row, column, band, layers }, sum) {
  const kept = view.state.kept.map((position) => lens.linked.indexOf(position)).filter((each) => each >= 0 && each !== column);
  return [[(sum ? lens.layers : layers).indexOf(lens.layers[row])], [column, ...(band ? [] : kept)]];
}
