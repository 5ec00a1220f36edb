// The row above the table: which lens, its colours, a search, the view's shape, and the export menu.

import { idsOf } from "./bands.js";
import { colourOf, colours } from "./colour.js";
import { button, choice, make, menu, tick } from "./dom.js";
import { pairOf, showing, shows } from "./state.js";
import { takeaway } from "./takeaway.js";
import { WIDTHS } from "./widths.js";

const THEMES = [["system", "same as system"], ["light", "light"], ["dark", "dark"]];

/** `{ element, draw() }`. */
export function toolbar(view, search, help) {
  const { lenses } = view;
  const spoken = { beside: "side by side", difference: "difference" };
  const named = (show) => lenses[show]?.name ?? spoken[show] ?? pairOf(lenses, show).map(({ name }) => name).join(" | ");
  const several = shows(lenses);
  const tabs = several.map((show) => [show, named(show)]).map(([show, text]) => button(text, () => view.change(showing(show, view.state, lenses)), { title: text }));
  const bar = make("div", { class: "tabs", role: "group", "aria-label": "what is shown" }, ...tabs);
  const [colourLabel, colour] = choice("Colour", [], (value) => view.change({ colour: value }));
  const element = make("div", { class: "bar" });
  const shape = shapeMenu(view);
  element.append(
    ...(lenses.length > 1 ? [bar] : []),
    colourLabel,
    search.element,
    shape.element,
    takeaway(view),
    button("?", help, { title: "keyboard shortcuts", "aria-label": "keyboard shortcuts" }),
  );

  function draw() {
    const { state } = view;
    tabs.forEach((tab, place) => tab.setAttribute("aria-pressed", String(state.show === several[place])));
    const { lens } = view.chosen();
    colour.replaceChildren(...colours(lens, state).map(([value, text]) => make("option", { value }, text)));
    colour.value = colourOf(lens, state);
    shape.draw();
  }
  return { element, draw };
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
    openLabel,
    themeLabel,
  );
  const draw = () => {
    const { state } = view;
    [stride.value, width.value, theme.value] = [String(state.stride), state.width, state.theme];
    [up.checked, across.checked, blank.checked] = [state.bottomUp, state.layersAcross, state.hideBlank];
    open.checked = idsOf(view.lenses).every((id) => state.open.includes(id));
    jump.value = state.position;
  };
  return { element, draw };
}
