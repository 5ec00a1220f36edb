// A token, or a set of them, in every cell.

import { probabilityAt, rankAt } from "./data.js";
import { isToken } from "./targets.js";

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
  if (target) return { probability: target.probability, rank: target.rank, logs: target.logs ?? target.probability.map(Math.log), source: target.source ?? "target" };
  const source = sourceOf(lens, token);
  const nothing = () => new Float32Array(lens.rows * lens.columns).fill(NaN);
  const { logs, rank } = source === "top" ? { logs: nothing(), rank: nothing() } : lens.tracked.of(token);
  const probability = logs.map(Math.exp);
  for (let cell = 0; cell < rank.length; cell += 1) {
    const found = rankAt(lens, cell, token);
    if (!found) continue;
    [rank[cell], probability[cell]] = [found, probabilityAt(lens, cell, found - 1)];
    logs[cell] = Math.log(probability[cell]);
  }
  return { probability, rank, logs, source };
}
