// The pinned tokens through the layers at the chosen position, and along the positions at the chosen layer.

import { cellOf, keyOf, rowOf, tokenAt } from "./data.js";
import { chart } from "./chart.js";
import { choice, make } from "./dom.js";
import { cutTo, probabilityText, valueText } from "./numbers.js";
import { along, pinned } from "./pins.js";
import { layersOf, siblings } from "./siblings.js";

const CHARTS = [["probability", "probability"], ["rank", "rank"]];

/** `{ element, draw() }`. Without a pin, the most probable token of the chosen cell is followed. */
export function trajectories(view) {
  const [label, list] = choice("Plot", CHARTS, (value) => view.change({ chart: value }));
  const charts = make("div", { class: "charts" });
  const note = make("p", { class: "note" });
  const element = make("section", { class: "trajectories", "aria-label": "tokens through the layers" }, label, charts, note);

  function draw() {
    const { lens, row, column } = view.seen();
    const several = siblings(view.lenses, lens);
    const layers = layersOf(several);
    list.value = view.state.chart;
    const isRank = view.state.chart === "rank";
    const lead = tokenAt(lens, cellOf(lens, row, column));
    const own = { key: keyOf(lens, lead), token: lead, shape: "○", colour: "var(--soft)", soft: true };
    const pins = pinned(lens, view.state);
    const followed = pins.length ? pins : [own];
    const lines = (valuesOf) => followed.flatMap((pin) => several.flatMap((each) => lineOf(pin, each, valuesOf)));
    const lineOf = (pin, { lens: whose, dash }, valuesOf) => {
      const token = whose.places.get(pin.key);
      const values = token === undefined ? null : valuesOf(whose, token);
      const told = several.length > 1 ? { name: `${whose.shown[token]}, ${whose.name}`, whose: whose.name } : { name: lens.shown[pin.token] };
      return values ? [{ ...pin, ...told, dash, values }] : [];
    };
    const acrossLayers = (whose, token) => {
      const values = along(whose, token, { column }, view.state.chart);
      return layers.map((layer) => values[rowOf(whose, layer)] ?? NaN);
    };
    const acrossPositions = (whose, token) => {
      const there = rowOf(whose, lens.layers[row]);
      return there < 0 ? null : along(whose, token, { row: there }, view.state.chart);
    };
    const show = isRank ? valueText : probabilityText;
    const whose = view.shown.length > 1 && several.length === 1 ? `${lens.name}: ` : "";
    const of = `${whose}${pins.length ? "" : `${lens.shown[lead]} `}`;
    charts.replaceChildren(
      chart({
        lines: lines(acrossLayers),
        names: layers,
        title: `${of}across layers, at position ${lens.positions[column]}`,
        chosen: layers.indexOf(lens.layers[row]),
        choose: (place) => rowOf(lens, layers[place]) >= 0 && view.choose(lens, rowOf(lens, layers[place]), column),
        isRank,
        show,
      }),
      chart({
        lines: lines(acrossPositions),
        names: lens.tokens.map((token, place) => `${lens.positions[place]} ${cutTo(token, 12)}`),
        title: `${of}across positions, at layer ${lens.layers[row]}`,
        chosen: column,
        choose: (place) => view.choose(lens, row, place),
        isRank,
        show,
      }),
    );
    const styles = ["solid", "dashed", "dotted"];
    const told = several.length > 1 ? `${several.map((each, place) => `${styles[place]}: ${each.lens.name}`).join("; ")}. ` : "";
    note.textContent = `${told}To follow a token, pin it with its ○, or press p in the table. Its values are known where it is in the top ${lens.topk}; for targets, everywhere.`;
  }
  return { element, draw };
}
