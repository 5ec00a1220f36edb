// What is known of the rows of a lens: how good its decoder is there, and whether it has a map for them.

import { range, valueText } from "./numbers.js";

/** `{ text, title, quality }` of a row's head; quality is 0..1, null where nothing is known. */
export function rowHead(lens, row) {
  const layer = lens.layers[row];
  const isUnmapped = lens.unmapped.includes(layer);
  const [kl, agreement] = [lens.quality.kl?.[row] ?? null, lens.quality.agreement?.[row] ?? null];
  const known = [
    ...(isUnmapped ? ["the decoder has no map: as in the logit lens"] : []),
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

const largestKl = (lens) => range(lens.quality.kl.map((value) => value ?? NaN))[1];
