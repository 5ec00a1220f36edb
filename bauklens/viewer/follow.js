// A token, or a set of them, in every cell.

import { probabilityAt, rankAt } from "./data.js";
import { isToken } from "./targets.js";

const known = new WeakMap(); // lens -> token -> what `followed` returned

/** A token in every cell -> { probability, rank, exact }; NaN where it is in no top k and was not followed. */
export function followed(lens, token) {
  if (!known.has(lens)) known.set(lens, new Map());
  const tokens = known.get(lens);
  if (!tokens.has(token)) tokens.set(token, follow(lens, token));
  return tokens.get(token);
}

/** The target that a token or a name of several is; undefined where it was not followed. */
const targetAt = (lens, token) =>
  lens.joint.get(token) ?? lens.targets.find((each) => isToken(each) && each.tokens[0] === lens.ids?.[token]);

/** A token's probability or rank in some cells; NaN as in `followed`. */
export function valuesIn(lens, token, cells, what) {
  const target = targetAt(lens, token);
  if (target) return cells.map((cell) => target[what][cell]);
  const ranks = cells.map((cell) => rankAt(lens, cell, token));
  return ranks.map((rank, place) => (!rank ? NaN : what === "rank" ? rank : probabilityAt(lens, cells[place], rank - 1)));
}

function follow(lens, token) {
  const target = targetAt(lens, token);
  if (target) return { probability: target.probability, rank: target.rank, exact: true };
  const [probability, rank] = [0, 1].map(() => new Float32Array(lens.rows * lens.columns).fill(NaN));
  for (let cell = 0; cell < probability.length; cell += 1) {
    const found = rankAt(lens, cell, token);
    if (found) [probability[cell], rank[cell]] = [probabilityAt(lens, cell, found - 1), found];
  }
  return { probability, rank, exact: false };
}
