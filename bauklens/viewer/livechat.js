// A chat: messages of who says what, of which there can be more.

import { button, make } from "./dom.js";

const CHAT_ROLES = ["user", "assistant", "system"];

/** `element`, `messages()`, `fill(messages)`, `focus()`; `changed()` is called when something is typed. */
export function chatBox(changed) {
  const list = make("ol", { class: "live-messages" });
  const more = button("Add a message", () => add(list.children.length % 2 ? "assistant" : "user", "", true));
  const element = make("div", { class: "chat", hidden: true }, list, more);

  function add(role, content, focuses = false) {
    const who = make("select", { "aria-label": "role", onchange: changed }, ...CHAT_ROLES.map((each) => make("option", { value: each, selected: each === role }, each)));
    const what = make("textarea", { "aria-label": "message", rows: 1, spellcheck: "false", dir: "auto", placeholder: "A message, such as: How tall is the Eiffel Tower?", oninput: changed });
    what.value = content;
    const line = make("li", {}, who, what, button("×", () => away(line), { "aria-label": "remove this message", title: "remove this message" }));
    list.append(line);
    if (focuses) what.focus();
    changed();
  }

  function away(line) {
    line.remove();
    if (!list.children.length) add("user", "");
    changed();
  }

  return {
    element,
    messages: () => Array.from(list.children, (line) => ({ role: line.querySelector("select").value, content: line.querySelector("textarea").value })).filter(({ content }, place) => content || place === 0),
    focus: () => list.querySelector("textarea").focus(),
    fill(messages) {
      list.replaceChildren();
      (messages.length ? messages : [{ role: "user", content: "" }]).forEach(({ role, content }) => add(role, content));
    },
  };
}
