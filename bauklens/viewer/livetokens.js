// The tokens of what is typed, as the model will read it: for a chat, with the model's own template around it.

import { button, make } from "./dom.js";

const PAUSE_TYPING = 250; // ms
const MOST_SHOWN = 400; // tokens

/** `of(said)`: shows the tokens of a prompt or a chat soon after it was typed; `change(token)` is called with one that is pressed. */
export function previewOf(element, there, change) {
  let waiting = null;
  let asking = null;
  let shown = ""; // what was answered last; its buttons stay if it comes again, as one may just be pressed

  /** What is there before anything is typed: its line keeps the page from moving when the tokens come. */
  function hint() {
    element.replaceChildren("Press Enter to look, Shift+Enter for a new line.");
    shown = "";
  }

  async function show(said) {
    asking?.abort();
    const own = (asking = new AbortController());
    try {
      const answer = await (await there.ask("tokens", said, own.signal)).text();
      if (answer === shown) return;
      const { tokens } = JSON.parse((shown = answer));
      const seen = tokens.slice(0, MOST_SHOWN).map(([id, text, isSpecial], position) => button(text, () => change({ text, position }), { class: isSpecial ? "special" : null, title: `position ${position}, id ${id}: press to replace it, or to patch its states` }));
      const more = tokens.length > MOST_SHOWN ? `… ${(tokens.length - MOST_SHOWN).toLocaleString("en")} more` : "";
      element.replaceChildren(make("span", {}, `${tokens.length.toLocaleString("en")} token${tokens.length === 1 ? "" : "s"}`), ...seen, more);
    } catch (error) {
      if (error.name === "AbortError") return;
      element.replaceChildren(error.message);
      shown = "";
    }
  }

  hint();
  return {
    of(said) {
      clearTimeout(waiting);
      const isEmpty = said.messages ? said.messages.every(({ content }) => !content) : !said.prompt;
      if (isEmpty) {
        asking?.abort();
        hint();
      } else waiting = setTimeout(() => show(said), PAUSE_TYPING);
    },
  };
}
