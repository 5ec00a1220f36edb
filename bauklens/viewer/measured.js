// What charts show of a token in some cells: its rank, its probability or the log of it, its logit; or how two differ.

import { probabilityAt } from "./data.js";
import { exactUpTo, followed, inCells, targetAt, valuesIn } from "./follow.js";
import { probabilityText, valueText } from "./numbers.js";

const MEASURED = { rank: "rank", log: "log probability", probability: "probability", logit: "logit", difference: "difference" };

/** What can be shown, [value, text] each: logits if they are known, a difference if two pins were chosen for one. */
export function measurable(lens, state) {
  const isThere = { logit: Boolean(lens.values.max_logit), difference: state.difference.length === 2 };
  return Object.entries(MEASURED).filter(([name]) => isThere[name] ?? true);
}

/** What is shown: what was chosen, or ranks where it cannot be. */
export const measureOf = (lens, state) => (measurable(lens, state).some(([name]) => name === state.chart) ? state.chart : "rank");

/** A token's "rank", "probability", "log" or "logit" in some cells; NaN where it is not known. */
export function valuesAt(lens, token, cells, what) {
  if (what === "logit") return logitsAt(lens, token, cells);
  return valuesIn(lens, token, cells, what === "log" ? "logs" : what);
}

function logitsAt(lens, token, cells) {
  const target = targetAt(lens, token);
  if (target?.logit) return inCells(cells, (cell) => target.logit[cell]);
  const { logs } = followed(lens, token);
  const top = lens.values.max_logit;
  return inCells(cells, (cell) => (top ? logs[cell] + top[cell] - Math.log(probabilityAt(lens, cell)) : NaN));
}

/** The log probability of one token less that of another, which is how much their logits differ. */
export function differenceAt(lens, [one, other], cells) {
  const exact = [one, other].map((token) => targetAt(lens, token)?.logit);
  const logs = [one, other].map((token) => followed(lens, token).logs);
  return inCells(cells, (cell) => {
    const apart = exact[0] && exact[1] ? exact[0][cell] - exact[1][cell] : NaN;
    return Number.isFinite(apart) ? apart : logs[0][cell] - logs[1][cell];
  });
}

/** A value as a text; a rank that is about right has a sign of it. */
export function measuredText(lens, token, what, value, cell) {
  if (what === "probability") return probabilityText(value);
  if (what === "difference") return signed(value);
  if (what !== "rank" || Number.isNaN(value)) return valueText(value);
  return isAbout(lens, token, value, cell) ? `≈ ${valueText(value)}` : valueText(value);
}

/** Whether a rank is known about, as tracked ones are beyond a number. */
const isAbout = (lens, token, rank, cell) => rank > lens.topk && rank > exactUpTo(lens, token, cell);

/** Whether it is a word of several tokens, which has neither a rank nor a logit. */
export const isWord = (lens, token) => lens.joint.get(token)?.part === "whole";

/** A difference, with its sign. */
export const signed = (value) => (!Number.isFinite(value) ? valueText(value) : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
