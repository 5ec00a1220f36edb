// Which tokens read as words.

import { isOfLabels } from "./words.js";

const marked = new WeakMap(); // lens -> whether its tokens say where a word begins
const UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u; // scripts without spaces

/**
 * Whether a text is a word or a number that begins where a word does: after a space, with a capital or a digit, or in a
 * script that has no spaces. Blanks, punctuation, single bytes and later parts of words are not.
 *
 * @param isSpaced whether the tokenizer writes a space before a word
 */
export function isWordLike(text, isSpaced = true) {
  const [, space, word] = /^([\s▁]?)([\p{L}\p{N}][\p{L}\p{M}\p{N}'’-]*)$/u.exec(text) ?? [];
  if (!word) return false;
  return Boolean(space) || !isSpaced || /^[\p{Lu}\p{Lt}\p{N}]/u.test(word) || UNSPACED.test(word);
}

/** Whether the tokens of a lens write the space before a word. */
export function isSpaced(lens) {
  if (!marked.has(lens)) marked.set(lens, lens.texts.some((text) => /^[\s▁]\p{L}/u.test(text)));
  return marked.get(lens);
}

/** Whether a token of a lens is left out: if only words are wanted, what is not one; labels are always words. */
export const isLeftOut = (lens, token, { wordsOnly }) => wordsOnly && !isOfLabels(lens) && !isWordLike(lens.texts[token], isSpaced(lens));
