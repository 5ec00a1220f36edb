// The form: a prompt or a chat, and how it is read.

import { button, choice, make } from "./dom.js";
import { chatBox } from "./livechat.js";
import { previewOf } from "./livetokens.js";

/** The form of the page: `asked()`, `fill(ask)`, `focus()`, `offer(decoder)`; `look(ask)` and `change(token)` are called. */
export function askForm(about, there, look, change) {
  const form = /** @type {HTMLFormElement} */ (document.getElementById("ask"));
  const preview = previewOf(document.getElementById("preview"), there, change);
  const prompt = make("textarea", { "aria-label": "prompt", rows: 2, spellcheck: "false", dir: "auto", placeholder: "Type the beginning of a text, such as: The capital of France is" });
  const chat = chatBox(() => changed());
  const kinds = ["Text", "Chat"].map((name) => button(name, () => (choose(name === "Chat"), focus()), { "aria-pressed": String(name === "Text") }));
  const [decoderLabel, decoder] = choice("Decoder", about.decoders, () => {});
  const [streamLabel, stream] = choice("Stream", Object.entries(about.streams), () => {});
  const topk = number("Top", 5, 1, 50, "how many tokens each cell keeps");
  const generate = number("Generate", 0, 0, 256, "how many tokens the model generates; each gets a column");
  const follow = make("input", { "aria-label": "follow", placeholder: " Paris, cities = Rome, Oslo", title: "tokens whose rank and probability are kept in every cell, separated by commas; a space before a word is part of the token; name = A, B is a set" });
  const submit = make("button", { type: "submit", class: "main" }, "Look");
  decoderLabel.title = "how a layer’s state is decoded: with the model’s own unembedding (the logit lens), or with a fitted lens";
  streamLabel.title = "which states are decoded: those after each layer, or what a layer adds";
  submit.title = "runs the model on this prompt (Enter)";
  let isChat = false;

  document.getElementById("prompts").append(
    ...(about.chats ? [make("div", { class: "live-kinds" }, ...kinds)] : []),
    prompt,
    chat.element,
  );
  document.getElementById("options").append(
    submit, decoderLabel, streamLabel, topk.label, generate.label,
    make("label", { class: "wide" }, make("span", {}, "Follow"), follow),
  );

  function choose(chats) {
    isChat = chats;
    kinds.forEach((kind, place) => kind.setAttribute("aria-pressed", String(Boolean(place) === chats)));
    prompt.hidden = chats;
    chat.element.hidden = !chats;
    changed();
  }

  const said = () => (isChat ? { messages: chat.messages() } : { prompt: prompt.value });
  const changed = () => preview.of(said());

  function asked() {
    const followed = followedIn(follow.value);
    return { ...said(), decoder: decoder.value, stream: stream.value, topk: topk.value(), new_tokens: generate.value(), ...followed };
  }

  const focus = () => (isChat ? chat : prompt).focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    look(asked());
  });
  prompt.addEventListener("input", changed);
  form.addEventListener("keydown", (event) => event.key === "Enter" && !event.shiftKey && event.target instanceof HTMLTextAreaElement && (event.preventDefault(), form.requestSubmit()));
  chat.fill([]);
  decoder.value = about.decoders[1]?.[0] ?? "logit"; // who gives a decoder wants to look through it
  choose(false);
  return {
    asked,
    fill(ask) {
      choose(Boolean(ask.messages?.length));
      prompt.value = ask.prompt ?? "";
      chat.fill(ask.messages ?? []);
      decoder.value = ask.decoder ?? "logit";
      stream.value = ask.stream ?? "hidden";
      topk.fill(ask.topk ?? 5);
      generate.fill(ask.new_tokens ?? 0);
      follow.value = writtenFollowed(ask);
      changed();
    },
    focus,
    offer(name, called) {
      decoder.append(make("option", { value: name }, called));
      decoder.value = name;
    },
  };
}

function number(name, usual, min, max, title) {
  const box = make("input", { type: "number", min, max, value: usual, required: true, "aria-label": name });
  return { label: make("label", { title }, make("span", {}, name), box), value: () => box.valueAsNumber, fill: (value) => (box.value = value) };
}

/** What is followed, as it was typed: tokens with commas between, and after "name =" the tokens of a set. */
export function followedIn(text) {
  const [first, ...named] = text.split(/,?([^,=]+)=/).map((part) => part);
  const tokens = (part) => part.split(",").filter((each) => each.trim());
  const sets = [];
  for (let place = 0; place + 1 < named.length; place += 2) sets.push({ name: named[place].trim(), tokens: tokens(named[place + 1]) });
  return { targets: tokens(first), sets };
}

const writtenFollowed = ({ targets = [], sets = [] }) => [...targets, ...sets.map(({ name, tokens }) => `${name} =${tokens.join(",")}`)].join(",");
