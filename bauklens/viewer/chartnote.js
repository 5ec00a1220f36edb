// What is to be said of the charts: which tokens they draw, and what is not known of them.

import { aboutSum } from "./contrast.js";
import { followed } from "./follow.js";
import { membersOf, placeIn } from "./groups.js";
import { isWord } from "./measured.js";
import { worded } from "./words.js";

/** The note below the charts. */
export function aboutCharts(view, drawn, sum) {
  const { lens, band, lead, isPinned, entries, what } = drawn;
  const few = lead.found.length < lead.all ? ` (${lead.found.length} of ${lead.all})` : "";
  const here = band ? `that are most often at the top in ${band.name} in some layer` : "that lead in some layer at this position";
  const unasked = isPinned ? [] : [`Drawn: tokens ${here}${few}. To follow a token, pin it with its ○, press p in the table, or search for it.`];
  const of = entries.flatMap(({ pair }) => pair ?? []).concat(entries.filter(({ pair }) => !pair));
  const isSum = what === "rank" && of.some(({ key }) => membersOf(key));
  const words = ["rank", "logit"].includes(what) ? of.filter(({ token }) => isWord(lens, token)).map(({ token }) => lens.shown[token]) : [];
  const isOne = words.length === 1;
  const ofWords = words.length ? [`${words.join(", ")} ${isOne ? "is a word" : "are words"} of several tokens, which ${isOne ? "has" : "have"} no ${what}: plot probabilities.`] : [];
  const best = isSum ? ["The rank of a sum is that of its best token."] : [];
  const told = sum ? [aboutSum(sum)] : [];
  const said = [...unasked, ...absent(view, lens), ...(isPinned && what !== "share" ? unknown(lens, of, what) : []), ...ofWords, ...told, ...best];
  return said.map((text) => worded(lens, text)).join(" ");
}

/** Pins that a lens does not hold at all. */
function absent({ state, lenses }, lens) {
  const keys = state.pins.filter((key) => key !== null && placeIn(lens, key) === undefined);
  const names = keys.map((key) => lenses.map((each) => each.shown[placeIn(each, key)]).find((name) => name !== undefined));
  return names.length ? [`Not known in this table: ${names.join(", ")}.`] : [];
}

/** Of which tokens not every value is known, and how to get them. */
function unknown(lens, entries, what) {
  const sourceOfEntry = ({ token }) => followed(lens, token).source;
  const tokens = (source) => [...new Set(entries.filter((each) => sourceOfEntry(each) === source).flatMap(({ key, token }) => (membersOf(key) ?? [key]).map((each) => lens.places.get(each) ?? token)))];
  const ask = (places) => `targets=[${places.map((token) => JSON.stringify(lens.texts[token])).join(", ")}]`;
  const [top, coarse] = [tokens("top").filter((token) => followed(lens, token).source === "top"), tokens("coarse")];
  const [names, isOne] = [top.map((token) => lens.shown[token]).join(", "), top.length === 1];
  const seldom = top.length ? [`${names} ${isOne ? "is" : "are"} known only in cells with ${isOne ? "it" : "them"} in the top ${lens.topk}. To know ${isOne ? "it" : "them"} in every cell, pass ${ask(top)}.`] : [];
  const limit = what === "rank" ? `ranks beyond ${lens.tracked?.limit}` : "probabilities outside the top k";
  const large = coarse.length ? [`This table is large: ${limit} are not known. To know them in every cell, pass ${ask(coarse)}.`] : [];
  return [...seldom, ...large];
}
