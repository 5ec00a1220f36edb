// The pinned tokens, or those that lead somewhere, through the layers at the chosen position, and along the positions.

import { entryIn } from "./bands.js";
import { chart, TURNED } from "./chart.js";
import { chartFiles } from "./chartfiles.js";
import { chartMarks, chartSubjects } from "./chartmarks.js";
import { aboutCharts } from "./chartnote.js";
import { chartNumbers } from "./chartnumbers.js";
import { addedUpTo } from "./contrast.js";
import { rowOf } from "./data.js";
import { button, choice, make } from "./dom.js";
import { acrossLayers, acrossPositions, calledIn, drawing, textAt } from "./drawing.js";
import { isPartOf, nameOver, tickOf } from "./heads.js";
import { legend } from "./legend.js";
import { measurable } from "./measured.js";
import { cutTo } from "./numbers.js";
import { layerCalled } from "./words.js";

const positionNames = new WeakMap(); // lens -> what its positions are called at an axis

function namesOf(lens) {
  if (!positionNames.has(lens)) positionNames.set(lens, lens.positions.map(String));
  return positionNames.get(lens);
}

/** `{ element, draw() }`. Without a pin, what leads in some layer at the position is followed, and the chosen cell's token. */
export function trajectories(view) {
  const [label, list] = choice("Plot", [], (value) => view.change({ chart: value }));
  const keep = button("", () => view.keep(view.chosen().lens.linked[view.chosen().column]), { class: "keep" });
  const told = legend(view);
  const places = [make("div"), make("div")];
  const note = make("p", { class: "note" });
  let [charts, drawn, sum] = [[], null, null];
  let drawnOf = []; // what each chart was drawn of: of the same, only the marks move
  const tables = chartNumbers(() => charts);
  const files = chartFiles(() => ({ charts, drawn }));
  const tools = make("div", { class: "tools" }, label, keep, files);
  const parts = [tools, places[0], told.element, places[1], tables.element, note];
  const element = make("div", { class: "trajectories", role: "group", "aria-label": "tokens through the layers" }, ...parts);

  function draw() {
    drawn = drawing(view);
    const { lens, column, band, what, entries } = drawn;
    sum = entries[0]?.keys ? addedUpTo(view.lenses, lens, entries[0].keys, column) : null;
    list.replaceChildren(...measurable(lens, view.state).map(([value, text]) => make("option", { value }, text)));
    list.value = band ? list.value : what;
    list.disabled = Boolean(band);
    const isKept = view.state.kept.includes(lens.linked[column]);
    keep.textContent = isKept ? "Drop position" : "Keep position";
    keep.title = isKept ? "stop drawing this position beside others" : "keep drawing this position when another one is chosen (Shift-click in the table)";
    keep.setAttribute("aria-pressed", String(isKept));
    keep.hidden = Boolean(band);
    const focused = charts.findIndex(({ picture }) => picture === document.activeElement);
    const [wanted, marks] = [chartSubjects(view, drawn), chartMarks(view, drawn, sum)];
    charts = [layersChart, positionsChart].map((draw, which) => (drawnOf[which] === wanted[which] ? remarked(charts[which], marks[which]) : draw(marks[which])));
    drawnOf = sum ? [] : wanted;
    places.forEach((place, which) => place.firstChild !== charts[which].element && place.replaceChildren(charts[which].element));
    if (focused >= 0) charts[focused].picture.focus({ preventScroll: true });
    told.draw(drawn, sum);
    tables.draw();
    note.textContent = aboutCharts(view, drawn, sum);
  }

  function layersChart(marked) {
    const { lens, column, band, what, layers, entries, variants } = drawn;
    const choose = (place) => rowOf(lens, layers[place]) >= 0 && view.choose(lens, rowOf(lens, layers[place]), band ? entryIn(lens, { ...view.state, band: true }, column) : column);
    const at = isPartOf(lens, column) ? nameOver(lens, column) : `position ${lens.positions[column]}`;
    const others = new Set(variants.map((each) => each.column)).size - 1;
    const title = band ? `layers: share of the positions of ${band.name} at which it is at the top` : `layers, at ${at}${others ? ` and ${others} more` : ""}`;
    const ink = "var(--ink)";
    const spread = sum && {
      bars: sum.parts.map(({ name, values }, place) => ({ name, values, light: place > 0, colours: entries[0].pair.map(({ colour }) => colour) })),
      lines: [{ name: "sum", shape: "Σ", colour: ink, values: sum.sum }],
      names: lens.layers,
    };
    return shown({
      lines: acrossLayers(drawn),
      names: layers,
      axis: "layer",
      title: titled(title),
      what: band ? "probability" : what,
      called: calledIn(drawn),
      marked,
      say: (place) => spoken(`layer ${layers[place]}`, layers[place], null),
      point: (place) => told.draw(drawn, sum, place === null ? {} : { layer: layers[place] }),
      choose,
      ...spread,
    });
  }

  function positionsChart(marked) {
    const { lens, row, band, what } = drawn;
    return shown({
      lines: acrossPositions(drawn),
      names: namesOf(lens),
      texts: lens.columns > TURNED ? null : lens.tokens.map((_, place) => cutTo(tickOf(lens, place), 7)),
      axis: "position",
      title: titled(`positions, at ${layerCalled(lens, row)}`),
      what: band ? "probability" : what,
      called: band ? "probability" : calledIn(drawn),
      marked,
      say: (place) => spoken(`position ${lens.positions[place]} ${tickOf(lens, place)}`, lens.layers[row], place),
      point: (place) => told.draw(drawn, sum, place === null ? {} : { column: place }),
      choose: (place) => view.choose(lens, row, place),
    });
  }

  const shown = (about) => ({ ...about, ...chart(about) });
  const titled = (text) => (view.shown.length > 1 && new Set(drawn.variants.map(({ lens }) => lens)).size === 1 ? `${drawn.lens.name}: across ${text}` : `Across ${text}`);

  /** What a screen reader is told of a place: the values of all tokens there. */
  function spoken(name, layer, column) {
    const values = drawn.entries.map((entry) => `${entry.name} ${drawn.variants.map((variant) => textAt(drawn, entry, variant, layer, column)).join(", ")}`);
    return `${name}: ${values.join("; ")}`;
  }
  return { element, draw };
}

function remarked(drawn, places) {
  drawn.mark(places);
  return drawn;
}
