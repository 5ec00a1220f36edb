// What is known of the rows of a lens: how good its decoder is there, and whether it has a map for them.

import { range, valueText } from "./numbers.js";

/** `{ text, title, quality }` of a row's head; quality is 0..1, null where nothing is known. Of another lens, marks alone. */
export function rowHead(lens, row, other = null) {
  const layer = lens.layers[row];
  const without = [lens, other].filter((each) => each?.unmapped.includes(layer));
  const isUnmapped = without.length > 0;
  const [kl, agreement] = ["kl", "agreement"].map((name) => finite(lens.quality[name]?.[row]));
  const known = [
    ...without.map(({ name }) => `${other ? `${name}: ` : ""}the decoder has no map: shown as in the logit lens`),
    ...(kl === null ? [] : [`KL to the model’s own prediction ${valueText(kl)} nats on held-out text`]),
    ...(agreement === null ? [] : [`the same top token in ${Math.round(100 * agreement)} %`]),
  ];
  const quality = kl === null ? null : kl / (largestKl(lens) || 1);
  return { text: isUnmapped ? `${layer}*` : layer, title: [`layer ${layer}`, ...known].join("; "), quality };
}

/** What a legend says of them. */
export function aboutRows(lens) {
  const unmapped = lens.unmapped.length ? ["*: the decoder has no map for this row, shown as in the logit lens"] : [];
  const strip = lens.quality.kl ? [`bar at a layer: KL to the model’s own prediction on held-out text (full = ${valueText(largestKl(lens))} nats)`] : [];
  return [...strip, ...unmapped];
}

/** What a legend says of the marks where two lenses are compared. */
export const aboutMarks = (lenses) =>
  lenses.filter(({ unmapped }) => unmapped.length).map(({ name }) => `*: ${name} has no map for some of these rows, shown as in the logit lens`);

/** A number that a bar can be drawn of; null for any other, and where nothing is known. */
const finite = (value) => (Number.isFinite(value) ? value : null);

const largestKl = (lens) => range(lens.quality.kl.map((value) => finite(value) ?? NaN))[1];
