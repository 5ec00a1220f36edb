// Sums of tokens: each has a place among a lens's tokens like a set that was followed, so that it can be pinned like one.

import { followed } from "./follow.js";

const SUM = "sum of "; // a sum's key is this, and its tokens' keys as JSON
const MOST_MEMBERS = 64;
const SOURCES = ["target", "tracked", "coarse", "top"]; // what is known best comes first

/** The key of a sum; each token is in it once, and sums are taken apart. */
export const sumKey = (keys) => SUM + JSON.stringify([...new Set(keys.flatMap((key) => membersOf(key) ?? [key]))]);

/** The keys of a sum's tokens; null for the key of anything else. */
export function membersOf(key) {
  if (typeof key !== "string" || !key.startsWith(SUM)) return null;
  try {
    const members = JSON.parse(key.slice(SUM.length));
    const isPlain = (each) => typeof each === "number" || (typeof each === "string" && !each.startsWith(SUM));
    const isSum = Array.isArray(members) && members.length > 1 && members.length <= MOST_MEMBERS && members.every(isPlain);
    return isSum && sumKey(members) === key ? members : null;
  } catch {
    return null;
  }
}

/** The place of a token or a sum in a lens, which a sum gets when it is first asked for; undefined where the lens does not hold it. */
export function placeIn(lens, key) {
  if (lens.places.has(key)) return lens.places.get(key);
  const tokens = membersOf(key)?.map((each) => lens.places.get(each));
  if (!tokens || tokens.includes(undefined) || sharedBy(lens, tokens)) return undefined;
  const place = lens.keys.length;
  lens.keys[place] = key;
  lens.shown[place] = tokens.map((token) => lens.shown[token]).join(" + ");
  lens.joint.set(place, sumOf(lens, tokens));
  lens.places.set(key, place);
  return place;
}

/** Two of some tokens that are not apart, so that a sum would count something twice; null where there are none. */
export function sharedBy(lens, tokens) {
  const owners = new Map();
  for (const token of tokens) {
    for (const id of startsOf(lens, token)) {
      if (owners.has(id)) return [owners.get(id), token];
      owners.set(id, token);
    }
  }
  return null;
}

/** The tokens that what is at a place can begin with: all of a set, the first of a word. */
function startsOf(lens, token) {
  const target = lens.joint.get(token);
  if (!target) return [lens.ids?.[token] ?? token];
  return target.part === "set" ? target.tokens : target.tokens.slice(0, 1);
}

/** As a target: its values are added up when they are first asked for. */
function sumOf(lens, tokens) {
  let sum = null;
  const values = () => (sum ??= addedUp(lens, tokens));
  return {
    part: "sum",
    tokens: [],
    parts: tokens,
    get probability() {
      return values().probability;
    },
    get rank() {
      return values().rank;
    },
    get logs() {
      return values().logs;
    },
    get source() {
      return values().source;
    },
  };
}

/** The probability is the sum, its log that of the sum, and the rank the best one; NaN where one of them is not known. */
function addedUp(lens, tokens) {
  const parts = tokens.map((token) => followed(lens, token));
  const bounds = parts.map(({ source }) => ({ coarse: lens.tracked?.limit ?? 0, top: lens.topk })[source] ?? 0); // an unknown rank is beyond it
  const cells = parts[0].rank.length;
  const [logs, rank] = [new Float32Array(cells), new Float32Array(cells)];
  for (let cell = 0; cell < cells; cell += 1) {
    let [most, best, unknown] = [-Infinity, Infinity, Infinity];
    parts.forEach((part, place) => {
      if (!(part.logs[cell] <= most)) most = part.logs[cell];
      if (Number.isNaN(part.rank[cell])) unknown = Math.min(unknown, bounds[place] + 1);
      else best = Math.min(best, part.rank[cell]);
    });
    const sum = parts.reduce((total, part) => total + Math.exp(part.logs[cell] - most), 0);
    logs[cell] = most === -Infinity ? -Infinity : most + Math.log(sum);
    rank[cell] = best <= unknown ? best : NaN;
  }
  const source = SOURCES[parts.reduce((worst, part) => Math.max(worst, SOURCES.indexOf(part.source)), 0)];
  return { probability: logs.map(Math.exp), rank, logs, source };
}
