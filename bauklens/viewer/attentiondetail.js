// What the chosen cell reads: the positions that the attention of its block takes most from, as a list.

import { headsKnown, sharesOf } from "./attention.js";
import { choice, make } from "./dom.js";
import { range, shareText } from "./numbers.js";

const MOST_READ = 6; // positions

/** `{ element, draw(places, column, isNamed) }`; places are the lenses that have the cell, each with its row. */
export function attentionDetail(view) {
  const lists = make("div");
  const [label, select] = choice("Head", [], (value) => view.change({ attentionHead: Number(value) }));
  const element = make("div", { class: "reads", role: "group", "aria-label": "attention" }, label, lists);
  let offered = 0;

  function draw(places, column, isNamed) {
    const { attentionHead } = view.state;
    const found = places.map(([lens, row]) => [lens, row, sharesOf(lens, row, column, attentionHead)]).filter(([, , shares]) => shares);
    const heads = range(found.map(([lens, row]) => headsKnown(lens, row)))[1];
    element.hidden = !found.length;
    label.hidden = !heads;
    if (heads !== offered) {
      const names = [["-1", "mean over heads"], ...Array.from({ length: heads }, (_, head) => [String(head), `head ${head}`])];
      select.replaceChildren(...names.map(([value, text]) => make("option", { value }, text)));
      offered = heads;
    }
    select.value = String(attentionHead < heads ? attentionHead : -1);
    lists.replaceChildren(...found.flatMap(([lens, row, shares]) => listOf(lens, row, shares, isNamed)));
  }
  return { element, draw };
}

function listOf(lens, row, shares, isNamed) {
  const order = Array.from(shares, (_, source) => source).sort((one, other) => shares[other] - shares[one]);
  const shown = order.slice(0, MOST_READ).filter((source) => shares[source] > 0);
  const whose = isNamed ? [make("bdi", { class: "whose" }, lens.name), ": "] : [];
  const lines = shown.map((source) =>
    make(
      "li",
      {},
      make("span", { class: "at" }, String(source)),
      make("bdi", { class: "token" }, lens.attention.tokens[source]),
      make("span", { class: "bar", style: { "--p": shares[source].toFixed(3) } }),
      make("span", { class: "number" }, shareText(shares[source])),
    ),
  );
  return [make("p", {}, make("span", {}, ...whose, `Positions that get most of the attention of layer ${lens.layers[row]}:`)), make("ol", { class: "tops" }, ...lines)];
}
