// The pinned tokens through the layers at the chosen position, and along the positions at the chosen layer.

import { cellOf, keyOf, tokenAt } from "./data.js";
import { chart } from "./chart.js";
import { choice, make } from "./dom.js";
import { cutTo, probabilityText, valueText } from "./numbers.js";
import { along, pinned } from "./pins.js";

const CHARTS = [["probability", "probability"], ["rank", "rank"]];

/** `{ element, draw() }`. Without a pin, the most probable token of the chosen cell is followed. */
export function trajectories(view) {
  const [label, list] = choice("Plot", CHARTS, (value) => view.change({ chart: value }));
  const charts = make("div", { class: "charts" });
  const note = make("p", { class: "note" });
  const element = make("section", { class: "trajectories", "aria-label": "tokens through the layers" }, label, charts, note);

  function draw() {
    const { lens, row, column } = view.seen();
    list.value = view.state.chart;
    const isRank = view.state.chart === "rank";
    const lead = tokenAt(lens, cellOf(lens, row, column));
    const own = { key: keyOf(lens, lead), token: lead, shape: "○", colour: "var(--soft)", soft: true };
    const pins = pinned(lens, view.state);
    const lines = (place) =>
      (pins.length ? pins : [own]).map((pin) => ({
        ...pin,
        name: lens.shown[pin.token],
        values: along(lens, pin.token, place, view.state.chart),
      }));
    const show = isRank ? valueText : probabilityText;
    const whose = view.shown.length > 1 ? `${lens.name}: ` : "";
    const of = `${whose}${pins.length ? "" : `${lens.shown[lead]} `}`;
    charts.replaceChildren(
      chart({
        lines: lines({ column }),
        names: lens.layers,
        title: `${of}across layers, at position ${lens.positions[column]}`,
        chosen: row,
        choose: (place) => view.choose(lens, place, column),
        isRank,
        show,
      }),
      chart({
        lines: lines({ row }),
        names: lens.tokens.map((token, place) => `${lens.positions[place]} ${cutTo(token, 12)}`),
        title: `${of}across positions, at layer ${lens.layers[row]}`,
        chosen: column,
        choose: (place) => view.choose(lens, row, place),
        isRank,
        show,
      }),
    );
    note.textContent = `To follow a token, pin it with its ○, or press p in the table. Its values are known where it is in the top ${lens.topk}; for targets, everywhere.`;
  }
  return { element, draw };
}
