// A picture of the prompt with the lens over it: which picture, at which layer, and what its patches show.

import { strided } from "./axes.js";
import { choice, make } from "./dom.js";
import { patches } from "./patches.js";
import { patchContent, patchesOf } from "./patchvalues.js";
import { pinned } from "./pins.js";
import { worded } from "./words.js";

/** `{ element, draw(), look() }`; nothing is shown of a lens without pictures. */
export function pictureView(view) {
  if (!view.lenses.some((lens) => lens.pictures.length)) return { element: make("div", { hidden: true }), draw() {}, look() {} };
  const over = patches(view, () => explain());
  const [whichLabel, which] = choice("Picture", [], (value) => view.change({ picture: Number(value) }));
  const [showLabel, show] = choice("In each patch", [], (value) => view.change({ patches: value }));
  const layer = make("input", { type: "range", min: 0, step: 1, oninput: () => to(Number(layer.value)) });
  const layerText = make("output", {});
  const faint = make("input", { type: "range", min: 0, max: 1, step: 0.05, oninput: () => view.change({ imagery: Number(faint.value) }) });
  const faintLabel = make("label", {}, make("span", {}, "Image"), faint);
  const legend = make("p", { class: "legend" });
  const title = make("h3", {});
  const layerLabel = make("label", {}, make("span", {}, "Layer"), layer, layerText);
  const controls = make("div", { class: "controls" }, title, whichLabel, layerLabel, showLabel, faintLabel, legend);
  const element = make("section", { class: "pictures", "aria-label": "the picture with the lens over it" }, over.element, controls);
  let rows = []; // of the lens, which the slider goes through

  function to(place) {
    view.change({ layer: view.chosen().lens.layers[rows[place]] });
    view.home();
  }

  function draw() {
    const { lens, row } = view.chosen();
    const picture = shown();
    element.hidden = !picture;
    if (!picture) return;
    over.draw(lens, row, picture);
    rows = strided(lens.rows, view.state.stride);
    const name = view.shown.length > 1 ? ` (${lens.name})` : "";
    title.replaceChildren(make("bdi", {}, picture.shown), name);
    options(which, lens.pictures.map((each, place) => [String(place), each.shown]), String(lens.pictures.indexOf(picture)));
    whichLabel.hidden = lens.pictures.length < 2;
    layer.max = rows.length - 1;
    layer.value = rows.indexOf(row);
    layer.setAttribute("aria-valuetext", `layer ${lens.layers[row]}`);
    layerText.textContent = lens.layers[row];
    const pin = pinned(lens, view.state).find(({ key }) => key === view.state.pin);
    showLabel.hidden = !pin;
    options(show, [["pin", worded(lens, `probability of ${pin ? `${pin.shape} ${lens.shown[pin.token]}` : "a pinned token"}`)], ["top", worded(lens, "the top token")]], view.state.patches);
    faintLabel.hidden = !picture.url;
    faint.value = view.state.imagery;
    explain();
    look();
  }

  const shown = () => view.chosen().lens.pictures[view.state.picture] ?? view.chosen().lens.pictures[0];

  function explain() {
    const [{ lens, row }, picture] = [view.chosen(), shown()];
    if (!picture) return;
    const isRead = patchesOf(lens, picture).columns.length > 0;
    const about = isRead ? [...patchContent(lens, view.state, row, picture).legend, ...notes(lens, picture)] : [`No position of this table reads ${picture.shown}`];
    legend.replaceChildren(...about.map((text) => make("span", {}, text)));
  }

  /** What a reader should know of a picture. */
  function notes(lens, picture) {
    const { columns, isPlaced } = patchesOf(lens, picture);
    return [
      ...(isPlaced ? [] : ["It is not known which part each position reads: the positions are in the order of the prompt"]),
      ...(columns.flat().includes(-1) ? ["Crossed out: no position of this table reads that part"] : []),
      ...(picture.url || !isPlaced ? [] : ["Only numbers were given, so no image can be shown"]),
      ...(over.isSmall() ? ["The patches are too small for text: point at one, or use the arrow keys"] : []),
    ];
  }

  function look() {
    if (element.hidden) return;
    const { lens, column, band } = view.seen();
    const chosen = view.chosen();
    over.look(lens === chosen.lens && !band ? column : -1, lens === chosen.lens && column === chosen.column && !band);
  }
  return { element, draw, look };
}

/** The options of a list, built anew only if they are others. */
function options(list, wanted, value) {
  const texts = JSON.stringify(wanted);
  if (list.dataset.of !== texts) list.replaceChildren(...wanted.map(([each, text]) => make("option", { value: each }, text)));
  list.dataset.of = texts;
  list.value = value;
}
