// The pinned tokens, or those that lead somewhere, through the layers at the chosen position, and along the positions.

import { cellOf, keyOf, rowOf, tokenAt } from "./data.js";
import { chart } from "./chart.js";
import { button, choice, make } from "./dom.js";
import { cutTo, probabilityText, valueText } from "./numbers.js";
import { along, leaders, MOST_LEADERS, pinned } from "./pins.js";
import { layersOf, siblings } from "./siblings.js";

const CHARTS = [["probability", "probability"], ["rank", "rank"]];

/** `{ element, draw() }`. Without a pin, what leads in some layer at the position is followed, and the chosen cell's token. */
export function trajectories(view) {
  const [label, list] = choice("Plot", CHARTS, (value) => view.change({ chart: value }));
  const charts = make("div", { class: "charts" });
  const legend = make("ul", { class: "followed", "aria-label": "tokens in the charts" });
  const note = make("p", { class: "note" });
  const parts = [label, legend, charts, note];
  const element = make("section", { class: "trajectories", "aria-label": "tokens through the layers" }, ...parts);

  function draw() {
    const { lens, row, column } = view.seen();
    const several = siblings(view.lenses, lens);
    const layers = layersOf(several);
    list.value = view.state.chart;
    const isRank = view.state.chart === "rank";
    const top = tokenAt(lens, cellOf(lens, row, column));
    const own = { key: keyOf(lens, top), token: top, shape: "○", colour: "var(--soft)", soft: true };
    const pins = pinned(lens, view.state);
    const lead = leaders(lens, column, Math.max(2, Math.floor(MOST_LEADERS / several.length)));
    const followed = pins.length ? pins : lead.found.some(({ token }) => token === top) ? lead.found : [...lead.found, own];
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
    charts.replaceChildren(
      chart({
        lines: lines(acrossLayers),
        names: layers,
        title: `${whose}across layers, at position ${lens.positions[column]}`,
        chosen: layers.indexOf(lens.layers[row]),
        choose: (place) => rowOf(lens, layers[place]) >= 0 && view.choose(lens, rowOf(lens, layers[place]), column),
        isRank,
        show,
      }),
      chart({
        lines: lines(acrossPositions),
        names: lens.tokens.map((token, place) => `${lens.positions[place]} ${cutTo(token, 12)}`),
        title: `${whose}across positions, at layer ${lens.layers[row]}`,
        chosen: column,
        choose: (place) => view.choose(lens, row, place),
        isRank,
        show,
      }),
    );
    const styles = ["solid", "dashed", "dotted"];
    const told = several.length > 1 ? `${several.map((each, place) => `${styles[place]}: ${each.lens.name}`).join("; ")}. ` : "";
    const few = lead.found.length < lead.all ? ` (${lead.found.length} of ${lead.all})` : "";
    const which = pins.length ? "" : `Drawn: tokens that lead in some layer at this position${few}. `;
    note.textContent = `${told}${which}To follow a token, pin it with its ○, or press p in the table. Its values are known where it is in the top ${lens.topk}; for targets, everywhere.`;
    explain(lens, followed);
  }

  /** The legend: a token is pinned, or a pin taken away, by a click. */
  function explain(lens, followed) {
    const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
    const isPinned = (key) => view.state.pins.includes(key);
    const about = (key) => ({ title: isPinned(key) ? "unpin this token" : "pin this token to follow it alone" });
    const buttons = followed.map(({ key, token, shape, colour }) => {
      const each = button("", () => view.pin(key), about(key));
      each.append(make("b", { style: { "--pin": colour } }, shape), " ", make("bdi", {}, lens.shown[token]));
      return each;
    });
    legend.replaceChildren(...buttons.map((each) => make("li", {}, each)));
    if (focused >= 0) (buttons[focused] ?? buttons.at(-1)).focus();
  }
  return { element, draw };
}
