// In which cell the active pin comes nearest to the top, of each lens that is shown; a click chooses it.

import { cellOf } from "./data.js";
import { button, make } from "./dom.js";
import { followed } from "./follow.js";
import { placeIn } from "./groups.js";
import { isWord, measuredText } from "./measured.js";
import { probabilityText } from "./numbers.js";

const bestCells = new WeakMap(); // lens -> token -> [row, column], or null

/**
 * The cell in which a token's rank is best, or of a word, which has none, its probability; of equal ranks the most probable.
 * The embedding is left out, as each token of the prompt leads there. Null if nothing is known of the token.
 */
export function bestCell(lens, token) {
  if (!bestCells.has(lens)) bestCells.set(lens, new Map());
  const cells = bestCells.get(lens);
  if (!cells.has(token)) cells.set(token, findBest(lens, token));
  return cells.get(token);
}

function findBest(lens, token) {
  const { rank, probability } = followed(lens, token);
  const first = lens.layers[0] === "embed" && lens.rows > 1 ? lens.columns : 0;
  const isBetter = isWord(lens, token)
    ? (cell, best) => probability[cell] > probability[best]
    : (cell, best) => rank[cell] < rank[best] || (rank[cell] === rank[best] && probability[cell] > probability[best]);
  const known = isWord(lens, token) ? probability : rank;
  let best = -1;
  for (let cell = first; cell < lens.rows * lens.columns; cell += 1) {
    if (!Number.isNaN(known[cell]) && (best < 0 || isBetter(cell, best))) best = cell;
  }
  return best < 0 ? null : [Math.floor(best / lens.columns), best % lens.columns];
}

/** `{ element, draw() }`. */
export function bestPlaces(view) {
  const element = make("p", { class: "best" });

  function draw() {
    const isNamed = view.shown.length > 1;
    const places = view.shown.map((lens) => [lens, placeIn(lens, view.state.pin)]).filter(([, token]) => token !== undefined);
    const told = places.map(([lens, token]) => [lens, token, bestCell(lens, token)]).filter(([, , best]) => best);
    element.hidden = !told.length;
    const buttons = told.map(([lens, token, [row, column]]) => {
      const text = `${isNamed ? `${lens.name}: ` : ""}${bestText(lens, token, cellOf(lens, row, column))} at layer ${lens.layers[row]}, position ${lens.positions[column]}`;
      return button(text, () => view.choose(lens, row, column), { title: "go to this cell" });
    });
    element.replaceChildren(make("span", {}, told.some(([lens, token]) => !isWord(lens, token)) ? "Best rank" : "Most probable"), ...buttons);
  }
  return { element, draw };
}

const bestText = (lens, token, cell) => {
  const { rank, probability } = followed(lens, token);
  return isWord(lens, token) ? probabilityText(probability[cell]) : measuredText(lens, token, "rank", rank[cell], cell);
};
