// Tokens that are tracked: their log-probabilities and ranks in every cell, unpacked when one is asked for.

/** Ranks up to this one are exact where values are coarse: they have a code each, see `bauklens/show/tracked_payload.py`. */
export const EXACT = 16;
const STEPS = 12; // codes for each doubling of the rank beyond
const PART = 8192; // bytes that are written at once

/**
 * What `bauklens/show/tracked_payload.py` wrote: `{ has(token), isCoarse(token), of(token), sure, limit, left, file(ids) }`.
 *
 * `of` gives `{ logs, rank }` of a token by its place among the texts, for every cell; NaN where a value is not known. Of
 * a coarse one the ranks are known, roughly, up to `limit`. `sure` is for each cell up to which rank the others' are exact.
 * Coarse ranks are packed by position, and at each position by layer.
 * `file` is what a result's file holds of them; null if the page does not have it all.
 */
export function trackedOf(about, { logs, ranks, codes, sure }, rows, columns) {
  const cells = rows * columns;
  const places = new Map((about?.places ?? []).map((token, place) => [token, place]));
  const cut = (values, place) => values.subarray(place * cells, (place + 1) * cells);
  const exact = about?.exact ?? 0;
  let known = null;
  const ranksAsTheyAre = () => (known ??= summed(ranks, logs, cells));
  const of = (token) => {
    const place = places.get(token);
    if (place >= exact) return { logs: new Float32Array(cells).fill(NaN), rank: roughly(cut(codes, place - exact), rows, columns) };
    const rank = Float32Array.from(cut(ranksAsTheyAre(), place));
    return { logs: Float32Array.from(cut(logs, place), halfOf), rank: about.rounded ? rank.map(widened) : rank };
  };
  const isCoarse = (token) => places.get(token) >= exact;
  function file(ids) {
    if (!about || about.rounded || about.left || exact < places.size) return null;
    const numbers = { log_probability: base64(logs), rank: base64(ranksAsTheyAre()), exact_to: base64(sure) };
    return { token_ids: about.places.map((token) => ids[token]), ...numbers, rank_bytes: ranks.BYTES_PER_ELEMENT };
  }
  return { has: (token) => places.has(token), isCoarse, of, file, sure, limit: about?.limit ?? 0, left: about?.left ?? 0 };
}

/** Ranks from their steps, which are in the order of the tokens' probabilities in each cell; both may wrap around. */
function summed(steps, logs, cells) {
  const ranks = new steps.constructor(steps.length);
  const order = new Uint32Array(steps.length / cells);
  for (let cell = 0; cell < cells; cell += 1) {
    for (let token = 0; token < order.length; token += 1) order[token] = ((logs[token * cells + cell] & 0x7fff) << 16) | token;
    if (order.length > 1) order.sort();
    for (let place = 0, rank = 0; place < order.length; place += 1) {
      rank += steps[place * cells + cell];
      ranks[(order[place] & 0xffff) * cells + cell] = rank;
    }
  }
  return ranks;
}

/** The ranks that codes mean, from the order that they are packed in. */
function roughly(codes, rows, columns) {
  const meant = Float32Array.from({ length: 256 }, (_, code) => rankOf(code));
  const rank = new Float32Array(codes.length);
  for (let row = 0, cell = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1, cell += 1) rank[cell] = meant[codes[column * rows + row]];
  return rank;
}

/** The bytes of numbers, as a file has them. */
function base64(numbers) {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  const parts = Array.from({ length: Math.ceil(bytes.length / PART) }, (_, part) => String.fromCharCode(...bytes.subarray(part * PART, (part + 1) * PART)));
  return btoa(parts.join(""));
}

/** The rank that the code of a rounded one means: exact below 128, then 64 codes for each doubling. */
const widened = (code) => (code < 128 ? code : (64 + (code & 63)) * 2 ** ((code >> 6) - 1));

/** The rank that a code means: about, beyond 16; NaN for ranks beyond the limit, which have code 0. */
export function rankOf(code) {
  if (code <= EXACT) return code || NaN;
  return Math.round(EXACT * 2 ** ((code - EXACT) / STEPS));
}

/** The number that the bits of a float16 mean. */
export function halfOf(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
}
