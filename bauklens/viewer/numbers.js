// Numbers and short texts as a person reads them.

/** The first characters of a text, whole ones, with a sign that there are more. */
export function cutTo(text, count) {
  const characters = [...text.slice(0, 4 * count)];
  return characters.length > count ? `${characters.slice(0, Math.max(1, count - 1)).join("")}…` : text;
}

/** Three decimals, or a power of ten where these would be zero. */
export function probabilityText(value) {
  if (Number.isNaN(value)) return "–";
  return value >= 0.0005 || value === 0 ? value.toFixed(3) : value.toExponential(0);
}

/** Four digits, and no power of ten above a thousand. */
export function valueText(value) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return size !== 0 && size < 0.0005 ? value.toExponential(0) : String(Number(value.toPrecision(4)));
}

/** A change with its sign, to one decimal. */
export function changeText(value) {
  if (!Number.isFinite(value)) return "–";
  const digits = Math.abs(value).toFixed(1);
  return digits === "0.0" ? digits : `${value < 0 ? "−" : "+"}${digits}`;
}

/** The shortest number that is the same float32. */
export function shortest(value) {
  for (let digits = 6; digits < 9; digits += 1) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return Number(value.toPrecision(9));
}

/** The least and the largest number; NaN and infinity are passed over. */
export function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : [0, 0];
}

/** A text as lines of at most so many characters, at its spaces. */
export function wrapped(text, room) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= room) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines;
}

/** A share in per cent. */
export const shareText = (share) => (share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`);
