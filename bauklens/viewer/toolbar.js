// The row above the table: which lens, its colours, a search, the view's shape, and the export menu.

import { idsOf } from "./bands.js";
import { pairColours } from "./apart.js";
import { colours } from "./colour.js";
import { button, choice, make, menu, tick } from "./dom.js";
import { isPair, pairOf, showing, shows } from "./state.js";
import { takeaway } from "./takeaway.js";
import { WIDTHS } from "./widths.js";

const MOST_PAIRS = 3; // tabs
const THEMES = [["system", "same as system"], ["light", "light"], ["dark", "dark"]];

/** `{ element, draw() }`. */
export function toolbar(view, search, help) {
  const { lenses } = view;
  const [several, pairs] = tabsOf(lenses);
  const go = (show) => view.change(showing(show, view.state, lenses));
  const tabs = several.map((show) => button(called(lenses, show), () => go(show), { title: called(lenses, show, "title") }));
  const [pairLabel, pair] = choice("Compare", [["", "–"], ...pairs.map((show) => [show, called(lenses, show)])], (show) => go(show || "beside"));
  const bar = make("div", { class: "tabs", role: "group", "aria-label": "what is shown" }, ...tabs);
  const [colourLabel, colour] = choice("Colour", [], (value) => view.change({ colour: value }));
  const element = make("div", { class: "bar" });
  const shape = shapeMenu(view);
  element.append(
    ...(lenses.length > 1 ? [bar] : []),
    ...(pairs.length ? [pairLabel] : []),
    colourLabel,
    search.element,
    shape.element,
    takeaway(view),
    button("?", help, { title: "keyboard shortcuts", "aria-label": "keyboard shortcuts" }),
  );

  function draw() {
    const { state } = view;
    tabs.forEach((tab, place) => tab.setAttribute("aria-pressed", String(state.show === several[place])));
    pair.value = pairs.includes(state.show) ? state.show : "";
    const known = view.pair ? pairColours(view.pair, state) : colours(view.chosen().lens, state);
    colour.replaceChildren(...known.map(([value, text]) => make("option", { value }, text)));
    colour.value = known.some(([value]) => value === state.colour) ? state.colour : "both";
    shape.draw();
  }
  return { element, draw };
}

/** What is shown by a tab each, and pairs that are in a list as there are many. */
function tabsOf(lenses) {
  const [pairs, others] = [shows(lenses).filter(isPair), shows(lenses).filter((show) => !isPair(show))];
  return pairs.length > MOST_PAIRS ? [others, pairs] : [[...others, ...pairs], []];
}

/** What is shown, in words: by the short names of lenses, or their titles. */
function called(lenses, show, by = "name") {
  const name = (lens) => lens[by] ?? lens.name;
  if (lenses[show]) return name(lenses[show]);
  return show === "beside" ? "side by side" : pairOf(lenses, show).map(name).join(" ↔ ");
}

function shapeMenu(view) {
  const strides = [1, 2, 3, 4, 6, 8].map((stride) => [String(stride), stride === 1 ? "every layer" : `every ${["", "", "second", "third", "fourth", "", "sixth", "", "eighth"][stride]} layer`]);
  const [strideLabel, stride] = choice("Layers", strides, (value) => view.change({ stride: Number(value) }));
  const width = make("input", {
    type: "range",
    min: WIDTHS[0],
    max: WIDTHS[1],
    step: 4,
    oninput: () => view.change({ width: Number(width.value) }),
  });
  const [upLabel, up] = tick("first layer at the bottom", (bottomUp) => view.change({ bottomUp }));
  const [acrossLabel, across] = tick("layers across", (layersAcross) => view.change({ layersAcross }));
  const [blankLabel, blank] = tick("dim blank tokens", (hideBlank) => view.change({ hideBlank }));
  const [wordsLabel, words] = tick("words only", (wordsOnly) => view.change({ wordsOnly }));
  const [openLabel, open] = tick("all columns opened", (all) => view.change({ open: all ? idsOf(view.lenses) : Object.freeze([]) }));
  openLabel.hidden = !idsOf(view.lenses).length;
  const [themeLabel, theme] = choice("Theme", THEMES, (value) => view.change({ theme: value }));
  const jump = make("input", { type: "number", onchange: () => go() });
  const go = () => {
    const { lens, row } = view.seen();
    const column = lens.positions.indexOf(Number(jump.value));
    if (column >= 0) view.choose(lens, row, column);
  };
  const element = menu(
    "View",
    strideLabel,
    make("label", {}, make("span", {}, "Column width"), width),
    make("label", {}, make("span", {}, "Go to position"), jump),
    upLabel,
    acrossLabel,
    blankLabel,
    wordsLabel,
    openLabel,
    themeLabel,
  );
  const draw = () => {
    const { state } = view;
    [stride.value, width.value, theme.value] = [String(state.stride), state.width, state.theme];
    [up.checked, across.checked, blank.checked] = [state.bottomUp, state.layersAcross, state.hideBlank];
    words.checked = state.wordsOnly;
    open.checked = idsOf(view.lenses).every((id) => state.open.includes(id));
    jump.value = state.position;
  };
  return { element, draw };
}
