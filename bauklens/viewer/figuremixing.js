// Colours `#rrggbb` of publication figures: mixed, and their contrast. `show/figure_colours.py` has the same.

import { range } from "./numbers.js";

/** A colour so far, 0..1, from one to another, in oklab. */
export function mixed(one, other, part) {
  const [first, second] = [oklab(one), oklab(other)];
  return hex(...first.map((start, place) => start + (second[place] - start) * part));
}

/** The same in sRGB. */
export function blended(one, other, part) {
  const [first, second] = [bytesOf(one), bytesOf(other)];
  return `#${first.map((start, place) => twoDigits(Math.floor(start + (second[place] - start) * part + 0.5))).join("")}`;
}

/** The contrast of two colours, 1..21. */
export function contrastOf(one, other) {
  const lights = [one, other].map((colour) => {
    const [red, green, blue] = linearOf(colour);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  });
  const [least, most] = range(lights);
  return most / least;
}

const bytesOf = (colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));

const twoDigits = (byte) => byte.toString(16).padStart(2, "0");

const linearOf = (colour) =>
  bytesOf(colour).map((each) => each / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));

function oklab(colour) {
  const [red, green, blue] = linearOf(colour);
  const long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3);
  const middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3);
  const short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3);
  return [0.2104542553 * long + 0.793617785 * middle - 0.0040720468 * short, 1.9779984951 * long - 2.428592205 * middle + 0.4505937099 * short, 0.0259040371 * long + 0.7827717662 * middle - 0.808675766 * short];
}

function hex(light, a, b) {
  const long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const parts = [4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short, -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short, -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short];
  return `#${parts.map((part) => twoDigits(byteOf(part))).join("")}`;
}

function byteOf(part) {
  const held = Math.min(1, Math.max(0, part));
  return Math.floor(255 * (held <= 0.0031308 ? 12.92 * held : 1.055 * held ** (1 / 2.4) - 0.055) + 0.5);
}
