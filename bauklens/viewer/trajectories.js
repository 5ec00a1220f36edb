// The pinned tokens, or those that lead somewhere, through the layers at the chosen position, and along the positions.

import { entryIn } from "./bands.js";
import { cellOf, keyOf, rowOf, tokenAt } from "./data.js";
import { chart } from "./chart.js";
import { button, choice, make } from "./dom.js";
import { isPartOf, nameOver, tickOf } from "./heads.js";
import { cutTo, probabilityText, valueText } from "./numbers.js";
import { along, bandLeaders, leaders, MOST_LEADERS, pinned } from "./pins.js";
import { layersOf, siblings } from "./siblings.js";
import { shareOf } from "./tally.js";
import { layerCalled, worded } from "./words.js";

const CHARTS = [["probability", "probability"], ["rank", "rank"]];

/** `{ element, draw() }`. Without a pin, what leads in some layer at the position is followed, and the chosen cell's token. */
export function trajectories(view) {
  const [label, list] = choice("Plot", CHARTS, (value) => view.change({ chart: value }));
  const charts = make("div", { class: "charts" });
  const legend = make("ul", { class: "followed", "aria-label": "tokens in the charts" });
  const note = make("p", { class: "note" });
  const parts = [label, legend, charts, note];
  const element = make("div", { class: "trajectories", role: "group", "aria-label": "tokens through the layers" }, ...parts);

  function draw() {
    const { lens, row, column, band } = view.seen();
    const several = siblings(view.lenses, lens);
    const layers = layersOf(several);
    list.value = view.state.chart;
    const isRank = view.state.chart === "rank" && !band;
    const top = tokenAt(lens, cellOf(lens, row, column));
    const own = { key: keyOf(lens, top), token: top, shape: "○", colour: "var(--soft)", soft: true };
    const pins = pinned(lens, view.state);
    const most = Math.max(2, Math.floor(MOST_LEADERS / several.length));
    const lead = band ? bandLeaders(lens, band, most) : leaders(lens, column, most);
    const followed = pins.length ? pins : band || lead.found.some(({ token }) => token === top) ? lead.found : [...lead.found, own];
    const lines = (valuesOf) => followed.flatMap((pin) => several.flatMap((each) => lineOf(pin, each, valuesOf)));
    const lineOf = (pin, { lens: whose, dash }, valuesOf) => {
      const token = whose.places.get(pin.key);
      const values = token === undefined ? null : valuesOf(whose, token);
      const told = several.length > 1 ? { name: `${whose.shown[token]}, ${whose.name}`, whose: whose.name } : { name: lens.shown[pin.token] };
      return values ? [{ ...pin, ...told, dash, values }] : [];
    };
    const acrossLayers = (whose, token) => {
      if (band) return layers.map((layer) => (rowOf(whose, layer) < 0 ? NaN : shareOf(whose, rowOf(whose, layer), band, token)));
      const values = along(whose, token, { column }, view.state.chart);
      return layers.map((layer) => values[rowOf(whose, layer)] ?? NaN);
    };
    const acrossPositions = (whose, token) => {
      const there = rowOf(whose, lens.layers[row]);
      return there < 0 ? null : along(whose, token, { row: there }, view.state.chart);
    };
    const show = isRank ? valueText : probabilityText;
    const titled = (text) => (view.shown.length > 1 && several.length === 1 ? `${lens.name}: across ${text}` : `Across ${text}`);
    charts.replaceChildren(
      chart({
        lines: lines(acrossLayers),
        names: layers,
        title: titled(band ? `layers: at what part of the positions of ${band.name} it is at the top` : `layers, at ${isPartOf(lens, column) ? nameOver(lens, column) : `position ${lens.positions[column]}`}`),
        chosen: layers.indexOf(lens.layers[row]),
        choose: (place) => rowOf(lens, layers[place]) >= 0 && view.choose(lens, rowOf(lens, layers[place]), band ? entryIn(lens, { ...view.state, band: true }, column) : column),
        isRank,
        show,
      }),
      chart({
        lines: lines(acrossPositions),
        names: lens.positions.map((position, place) => `${position} ${cutTo(tickOf(lens, place), 12)}`),
        title: titled(`positions, at ${layerCalled(lens, row)}`),
        chosen: column,
        choose: (place) => view.choose(lens, row, place),
        isRank,
        show,
      }),
    );
    const styles = ["solid", "dashed", "dotted"];
    const told = several.length > 1 ? `${several.map((each, place) => `${styles[place]}: ${each.lens.name}`).join("; ")}. ` : "";
    const few = lead.found.length < lead.all ? ` (${lead.found.length} of ${lead.all})` : "";
    const here = band ? `that are at the top at most positions of ${band.name} in some layer` : "that lead in some layer at this position";
    const which = pins.length ? "" : `Drawn: tokens ${here}${few}. `;
    note.textContent = worded(lens, `${told}${which}To follow a token, pin it with its ○, or press p in the table. Its values are known where it is in the top ${lens.topk}; for targets, everywhere.`);
    explain(lens, followed);
  }

  /** The legend: a token is pinned, or a pin taken away, by a click. */
  function explain(lens, followed) {
    const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
    const isPinned = (key) => view.state.pins.includes(key);
    const about = (key) => ({ title: worded(lens, isPinned(key) ? "unpin this token" : "pin this token to follow it alone") });
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
