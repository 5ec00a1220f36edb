// A box that finds any token that the lenses hold, and pins it.

import { keyOf } from "./data.js";
import { make } from "./dom.js";
import { worded } from "./words.js";

const MOST_FOUND = 12;

/** The tokens whose text holds what was typed, those that begin with it first: places among the lens's texts. */
export function found(lens, typed) {
  const wanted = typed.toLowerCase();
  if (!wanted.trim()) return [];
  const places = [];
  lens.texts.forEach((text, token) => {
    const [plain, seen] = [text.toLowerCase(), lens.shown[token].toLowerCase()];
    const at = plain.includes(wanted) ? plain.trimStart().indexOf(wanted.trimStart()) : seen.indexOf(wanted);
    if (at >= 0 || plain.includes(wanted)) places.push([at === 0 ? 0 : 1, text.length, token]);
  });
  return places.sort((one, other) => one[0] - other[0] || one[1] - other[1]).map(([, , token]) => token).slice(0, MOST_FOUND);
}

/** What is found in several lenses, each token once: { key, text }. */
function foundIn(lenses, typed) {
  const options = new Map();
  for (const lens of lenses) for (const token of found(lens, typed)) options.set(keyOf(lens, token), lens.shown[token]);
  return [...options].map(([key, text]) => ({ key, text })).slice(0, MOST_FOUND);
}

/** What is said of a text that no token here has; `left` is how many tracked tokens the page has no room for. */
export function howToFollow(typed, left = 0) {
  const plain = typed.replaceAll("␣", " ");
  const text = /^\s/.test(plain) ? plain.trimEnd() : ` ${plain.trim()}`;
  const tracked = left ? `not among the tracked tokens here (the page has no room for ${left} more)` : "not tracked";
  return `not in any top k here, and ${tracked}. To follow it, pass targets=[${JSON.stringify(text)}]; a word of several tokens works too.`;
}

/** `{ element, focus() }`: a combobox as ARIA's practices have it. */
export function search(view, name) {
  const input = make("input", {
    type: "search",
    role: "combobox",
    placeholder: worded(view.lenses[0], "Find a token  /"),
    "aria-label": worded(view.lenses[0], "find a token and pin it"),
    "aria-expanded": "false",
    "aria-controls": name,
    "aria-autocomplete": "list",
    autocomplete: "off",
  });
  const list = make("ul", { id: name, role: "listbox", "aria-label": worded(view.lenses[0], "tokens"), hidden: true });
  const element = make("div", { class: "search" }, input, list);
  let [options, active] = [[], -1];

  function draw() {
    options = foundIn(view.shown, input.value);
    active = options.length ? 0 : -1;
    list.replaceChildren(
      ...options.map(({ key, text }, place) =>
        make("li", { role: "option", id: `${name}-${place}`, onpointerdown: (event) => take(event, key) }, text),
      ),
    );
    if (!options.length && input.value.trim()) list.append(make("li", { class: "none" }, worded(view.lenses[0], howToFollow(input.value, view.shown[0].tracked?.left))));
    list.hidden = !list.children.length;
    mark();
  }

  function take(event, key) {
    event.preventDefault();
    if (!view.state.pins.includes(key)) view.pin(key);
    input.value = "";
    draw();
  }

  function mark() {
    [...list.children].forEach((each, place) => each.setAttribute("aria-selected", String(place === active)));
    input.setAttribute("aria-expanded", String(!list.hidden));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${name}-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  input.addEventListener("input", draw);
  input.addEventListener("focus", draw);
  input.addEventListener("blur", () => {
    [list.hidden, active] = [true, -1];
    mark();
  });
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const count = options.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      active = count ? (active + (event.key === "ArrowDown" ? 1 : count - 1)) % count : -1;
      mark();
    } else if (event.key === "Enter" && active >= 0) {
      take(event, options[active].key);
    } else if (event.key === "Escape") {
      input.value = "";
      draw();
      view.home();
    }
  });
  return { element, focus: () => input.focus() };
}
