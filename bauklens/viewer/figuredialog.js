// "Figure…": choices of a publication figure, with a preview, files, and the Python that makes the same one.

import { button, choice, make, tick } from "./dom.js";
import { PALETTES } from "./figurecolours.js";
import { notesOn } from "./figurenotes.js";
import { roomForColumns, figureSvg } from "./figurelayout.js";
import { figurePython, figureTold } from "./figuretold.js";
import { figureColourings } from "./figurevalues.js";
import { plainColour, png } from "./picture.js";
import { pinned } from "./pins.js";
import { copy, download } from "./share.js";

const NAMES_OF_PALETTES = { default: "blue", grey: "grey", cividis: "cividis", viridis: "viridis" };

/** The pins of a figure, as places among the lens's texts; the active one comes first if the page's colours are of it. */
function pinsOfFigure(view, lens) {
  const pins = pinned(lens, view.state);
  const active = ["token", "rank"].includes(view.state.colour) ? pins.filter(({ key }) => key === view.state.pin) : [];
  return [...new Set([...active, ...pins])].map(({ token }) => token);
}

/** Opens the dialog for a lens, with the colours of the page; `name(suffix, lens)` names files. */
export function figureDialog(view, lens, name) {
  const last = lens.rows - 1;
  const pins = pinsOfFigure(view, lens);
  const colourings = figureColourings(lens, pins);
  const colour = colourings.some(([value]) => value === view.state.colour) ? view.state.colour : "both";
  const start = Math.max(0, lens.columns - roomForColumns(lens, lens.layers.map((_, row) => row), (170 / 25.4) * 72, 7));
  const options = { from: 0, to: last, every: 1, first: start, last: lens.columns - 1, charts: false, width: 170, font: 7, palette: "default", colour, theme: "light", color: plainColour()(getComputedStyle(view.figure).getPropertyValue("--classic")), caption: true, noted: true };
  const onCells = notesOn(lens, view.state);
  const preview = make("div", { class: "preview", tabindex: "0", role: "img", "aria-label": "the figure" });
  const code = make("code", {});
  const said = make("p", { class: "note", role: "status" });
  let drawn = "";

  const change = (name, of = (value) => value) => (value) => {
    options[name] = of(value);
    draw();
  };
  const number = (label, name, [least, most], step = 1) => {
    const held = make("input", { type: "number", min: least, max: most, step, value: options[name] });
    held.addEventListener("change", () => {
      options[name] = Math.min(most, Math.max(least, Number(held.value) || least));
      held.value = options[name];
      draw();
    });
    return make("label", {}, make("span", {}, label), held);
  };
  const list = (label, name, choices, of) => {
    const [whole, box] = choice(label, choices, change(name, of));
    box.value = String(options[name]);
    return whole;
  };
  const layers = lens.layers.map((layer, row) => [String(row), layer]);
  const positions = lens.positions.map((position, column) => [String(column), `${position} ${lens.tokens[column]}`.slice(0, 24)]);
  const [charts] = tick("charts of ranks and probabilities", change("charts"));
  const [caption, isCaptioned] = tick("caption", change("caption"));
  isCaptioned.checked = true;
  const [notes, isNoted] = tick("notes", change("noted"));
  [isNoted.checked, notes.hidden] = [true, !onCells.length];
  const [whose, lenses] = choice("lens", view.lenses.map((each, place) => [String(place), each.name]), (place) => {
    dialog.close();
    figureDialog(view, view.lenses[place], name);
  });
  lenses.value = String(view.lenses.indexOf(lens));
  const choices = make("div", { class: "choices" }, view.lenses.length > 1 && whose,
    list("from layer", "from", layers, Number), list("to layer", "to", layers, Number), number("layer step", "every", [1, lens.rows]),
    list("from position", "first", positions, Number), list("to position", "last", positions, Number),
    list("colour", "colour", colourings), list("palette", "palette", PALETTES.map((each) => [each, NAMES_OF_PALETTES[each]])),
    list("theme", "theme", [["light", "light"], ["dark", "dark"]]),
    number("width, mm", "width", [20, 2000], 5), number("font, pt", "font", [3, 40], 0.5), charts, caption, notes);

  function draw() {
    const wanted = { ...options, pins, cellNotes: options.noted ? onCells : [] };
    const told = figureTold(lens, wanted);
    said.textContent = told.error;
    code.textContent = figurePython(lens, wanted);
    drawn = told.error ? "" : figureSvg(lens, told.options);
    files.forEach((each) => (each.disabled = !drawn));
    const image = drawn && make("img", { src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawn)}`, alt: told.options.about });
    preview.replaceChildren(...(image ? [image] : []));
  }

  const files = [
    button("Download SVG", () => download(name("svg", lens), drawn, "image/svg+xml")),
    button("Download PNG", async () => download(name("png", lens), await png(drawn, 300 / 96), "image/png")),
  ];
  const copied = async () => {
    said.textContent = (await copy(code.textContent, dialog)) ? "Python copied" : "the browser did not allow copying";
  };
  const actions = make("div", { class: "choices" }, ...files, button("Copy the Python", copied), button("Close", () => dialog.close()));
  const about = make("p", { class: "note" }, "The same figure from Python, which also writes PDF:");
  const dialog = make("dialog", { class: "figuredialog", "aria-label": "Figure" }, make("h3", {}, "Figure"), choices, said, preview, about, make("pre", {}, code), actions);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // the viewer's own keys
  view.figure.querySelector(".viewer").append(dialog);
  draw();
  dialog.showModal();
  return dialog;
}
