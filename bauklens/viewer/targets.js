// What is followed beside single tokens: sets of tokens and words of several, which have a place among the tokens.

/**
 * Tokens, and after them every target that is a set or a word of several: it has a name, a key and a place like theirs.
 *
 * @returns `texts`, `shown` and `keys` by place, `places` by key, `ids`, and `joint`: place -> target.
 */
export function named({ texts, shown = {}, ids }, targets) {
  const several = targets.filter((target) => !isToken(target));
  const keys = [...(ids ?? texts), ...several.map(({ name }) => `target: ${name}`)];
  return {
    texts: [...texts, ...several.map(({ name }) => name)],
    shown: [...texts.map((text, token) => shown[token] ?? text), ...several.map((target) => target.shown)],
    ids,
    keys,
    places: new Map(keys.map((key, token) => [key, token])),
    joint: new Map(several.map((target, place) => [texts.length + place, target])),
  };
}

/** Whether a target is a single token. */
export const isToken = ({ part, tokens }) => (part ?? "token") === "token" && tokens.length === 1;

/** The place of a target among the lens's texts; undefined where it has none. */
export const placeOfTarget = (lens, target) =>
  isToken(target) ? lens.places.get(target.tokens[0]) : [...lens.joint].find(([, each]) => each === target)?.[0];
