// Colours of publication figures: palettes for cells, and colours of pins. `show/figure_colours.py` has the same.

import { blended, contrastOf, mixed } from "./figuremixing.js";

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

/** The colour of the classic look at the largest magnitude, unless another is asked for. */
export const CLASSIC = "#3232ff";

/**
 * The colours of a figure: `{ of(name), pins, background, text, bar, classic, inside }`, as `#rrggbb`.
 *
 * @param color of the classic look at the largest magnitude
 */
export function figureColours(palette, theme, color) {
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
  const classic = (probability, magnitude, unread = false) =>
    [blended("#ffffff", unread ? "#808080" : color, magnitude), blended("#ffffff", "#000000", probability)]; // white paper, as on the page
  const inside = () => figureColours(palette, "light", color); // of pins in cells of the classic look
  const several = palette === "default" ? PIN_COLOURS[theme] : SAFE_PIN_COLOURS[theme];
  return { of, pins: palette === "grey" ? FIGURE_SHAPES.map(() => of("ink")) : several, background, text, bar, classic, inside };
}
