// Colours of publication figures: palettes for cells, and colours of pins. `show/figure_colours.py` has the same.

import { range } from "./numbers.js";

export const PALETTES = ["default", "grey", "cividis", "viridis"];

/** The shape of each pin. */
export const FIGURE_SHAPES = ["circle", "triangle", "square", "diamond", "star", "plus", "wedge", "cross"];

const PLAIN = {
  light: {
    paper: "#ffffff",
    ink: "#0b0e13",
    soft: "#565e6a",
    line: "#d5d9df",
    likely: "#4d94ff",
    bar: "#c65d00",
    unlikely: "#c3c8cf",
    faint: "#a4abb5",
    unread: "#eceef1",
    token: "#fff4c2",
    generated: "#d9f2dd",
    part: "#e4e0f5",
  },
  dark: {
    paper: "#14171c",
    ink: "#f4f6f9",
    soft: "#a9b2be",
    line: "#333942",
    likely: "#1d5fd1",
    bar: "#f0a04b",
    unlikely: "#4a515b",
    faint: "#6d7683",
    unread: "#23272e",
    token: "#3a3316",
    generated: "#1c3a26",
    part: "#2b2745",
  },
};

const GREY = { light: ["#ffffff", "#8c8c8c"], dark: ["#14171c", "#7a7a7a"] };

const STEPS_OF = {
  cividis: "#00224e #123570 #3b496c #575d6d #707173 #8a8678 #a59c74 #c3b369 #e1cc55 #fee838".split(" "),
  viridis: "#440154 #482878 #3e4989 #31688e #26828e #1f9e89 #35b779 #6ece58 #b5de2b #fde725".split(" "),
};

const PIN_COLOURS = {
  light: "#b3261e #1b6e2c #7a3ea8 #8a5a00 #00697a #a1246b #2f4fb5 #5c5f1a".split(" "),
  dark: "#ff8a80 #7ddc8f #d3a4f5 #f2c14e #5fd4e6 #ff9ccf #a3b8ff #c8cc7a".split(" "),
};

const SAFE_PIN_COLOURS = {
  light: "#9c3d00 #005a8c #8f3f71 #00664c #000000 #6b5b00 #4b3fae #4d4d4d".split(" "),
  dark: "#ff9a57 #56b4e9 #e79fc6 #3ccfa4 #ffffff #f0e442 #b0a8ff #c0c0c0".split(" "),
};

const CLASSIC_INK = { light: ["#505050", "#000000"], dark: ["#c4c4c4", "#ffffff"] };

/** The colours of a figure: `{ of(name), pins, background, text, bar, classic }`, as `#rrggbb`. */
export function figureColours(palette, theme) {
  const of = (name) => PLAIN[theme][name];
  const isOwn = (unread) => palette === "default" || unread;
  const background = (part, unread = false) => {
    if (isOwn(unread)) return mixed(of("paper"), of(unread ? "unlikely" : "likely"), part);
    if (palette === "grey") return mixed(...GREY[theme], part);
    const steps = STEPS_OF[palette];
    const place = Math.min(Math.floor(part * (steps.length - 1)), steps.length - 2);
    return mixed(steps[place], steps[place + 1], part * (steps.length - 1) - place);
  };
  const text = (part, behind, unread = false) => {
    if (isOwn(unread)) return mixed(of("soft"), of("ink"), part);
    return contrastOf("#ffffff", behind) > contrastOf("#000000", behind) ? "#ffffff" : "#000000";
  };
  const bar = (ink, unread = false) => (isOwn(unread) ? of(unread ? "faint" : "bar") : ink);
  const classic = (probability, magnitude, unread = false) => {
    const [, a, b] = oklab(unread ? "#808080" : "#3232ff");
    const light = theme === "light" ? 1 - 0.16 * magnitude : 0.2 + 0.2 * magnitude;
    const share = 0.45 * magnitude;
    return [hex(light, a * share, b * share), mixed(...CLASSIC_INK[theme], probability)];
  };
  const several = palette === "default" ? PIN_COLOURS[theme] : SAFE_PIN_COLOURS[theme];
  return { of, pins: palette === "grey" ? FIGURE_SHAPES.map(() => of("ink")) : several, background, text, bar, classic };
}

/** A colour so far, 0..1, from one to another, in oklab. */
function mixed(one, other, part) {
  const [first, second] = [oklab(one), oklab(other)];
  return hex(...first.map((start, place) => start + (second[place] - start) * part));
}

function contrastOf(one, other) {
  const lights = [one, other].map((colour) => {
    const [red, green, blue] = linearOf(colour);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  });
  const [least, most] = range(lights);
  return most / least;
}

const linearOf = (colour) =>
  [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16) / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));

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
  return `#${parts.map((part) => byteOf(part).toString(16).padStart(2, "0")).join("")}`;
}

function byteOf(part) {
  const held = Math.min(1, Math.max(0, part));
  return Math.floor(255 * (held <= 0.0031308 ? 12.92 * held : 1.055 * held ** (1 / 2.4) - 0.055) + 0.5);
}
