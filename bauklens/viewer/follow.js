// A token, or a set of them, in every cell.

import { probabilityAt, rankAt } from "./data.js";
import { isToken } from "./targets.js";
import { EXACT } from "./tracked.js";

const SMALLEST = 2 ** -126; // the smallest float32 with all its digits
const known = new WeakMap(); // lens -> token -> what `followed` returned

/**
 * A token in every cell -> `{ probability, rank, logs, source }`; NaN where a value is not known.
 *
 * `logs` are natural logs of the probabilities. `source` says how it is known: "target", everywhere and exactly;
 * "tracked", everywhere, to three digits; "coarse", its rank, roughly; "top", only where it is in the top k.
 */
export function followed(lens, token) {
  if (!known.has(lens)) known.set(lens, new Map());
  const tokens = known.get(lens);
  if (!tokens.has(token)) tokens.set(token, follow(lens, token));
  return tokens.get(token);
}

/** Whether a token's probability is known in every cell. */
export const isKnown = (lens, token) => ["target", "tracked"].includes(sourceOf(lens, token));

/** Up to which rank a token's ranks in a cell are exact, beside those in the top k; a sum's as its tokens' are. */
export function exactUpTo(lens, token, cell) {
  const parts = lens.joint.get(token)?.parts;
  if (parts) return parts.reduce((least, part) => Math.min(least, exactUpTo(lens, part, cell)), Infinity);
  const source = sourceOf(lens, token);
  if (source !== "tracked" && source !== "coarse") return Infinity;
  return Math.min(lens.tracked.sure?.[cell] ?? Infinity, source === "coarse" ? EXACT : Infinity);
}

/** How a token is known, as `followed` says, without its values. */
export function sourceOf(lens, token) {
  const target = targetAt(lens, token);
  if (target) return target.source ?? "target"; // a sum is known as its tokens are
  if (!lens.tracked?.has(token)) return "top";
  return lens.tracked.isCoarse(token) ? "coarse" : "tracked";
}

/** A token's `what` ("probability", "rank" or "logs") in some cells. */
export function valuesIn(lens, token, cells, what) {
  const values = followed(lens, token)[what];
  return inCells(cells, (cell) => values[cell]);
}

/** A value for each of some cells, which may be a typed array. */
export function inCells(cells, valueAt) {
  const values = [];
  for (const cell of cells) values.push(valueAt(cell));
  return values;
}

/** The target that a token or a name of several is; undefined where it was not followed. */
export const targetAt = (lens, token) =>
  lens.joint.get(token) ?? lens.targets.find((each) => isToken(each) && each.tokens[0] === lens.ids?.[token]);

function follow(lens, token) {
  const target = targetAt(lens, token);
  if (target) return { probability: target.probability, rank: target.rank, logs: target.logs ?? logsOf(lens, target), source: target.source ?? "target" };
  const source = sourceOf(lens, token);
  const nothing = () => new Float32Array(lens.rows * lens.columns).fill(NaN);
  const { logs, rank } = source === "top" ? { logs: nothing(), rank: nothing() } : lens.tracked.of(token);
  const probability = logs.map(Math.exp);
  for (let cell = 0; cell < rank.length; cell += 1) {
    const found = rankAt(lens, cell, token);
    if (!found) continue;
    const isShared = rank[cell] < found && rank[cell] <= exactUpTo(lens, token, cell); // tokens that are as probable share the better rank
    if (!isShared) rank[cell] = found;
    probability[cell] = probabilityAt(lens, cell, found - 1);
    logs[cell] = Math.log(probability[cell]);
  }
  return { probability, rank, logs, source };
}

/** The logs of a target's probabilities; by its logits where these are too small for a float32, if the top's are known. */
function logsOf(lens, { probability, logit }) {
  const top = lens.values.max_logit;
  const byLogit = (cell) => Math.min(0, logit[cell] - top[cell] + Math.log(probabilityAt(lens, cell)));
  return probability.map((value, cell) => (value < SMALLEST && top && Number.isFinite(logit?.[cell]) ? byLogit(cell) : Math.log(value)));
}
