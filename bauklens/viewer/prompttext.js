// The prompt as a text: each token chooses its position.

import { around } from "./around.js";
import { bandOf, columnOf, entries, entryIn } from "./bands.js";
import { isAbsent } from "./data.js";
import { button, make } from "./dom.js";
import { isPartOf, nameOver, tickOf } from "./heads.js";
import { cutTo } from "./numbers.js";
import { isSpaced } from "./wordlike.js";

const MOST_WRITTEN = 1500; // tokens
const LONGEST_WRITTEN = 60; // characters of one

/** `{ element, draw() }`; nothing is shown of a single token. */
export function promptText(view) {
  const list = make("span", { role: "listbox", "aria-label": "the text, by its tokens", "aria-orientation": "horizontal" });
  const before = button("", () => choose(places[first - 1]), { class: "more" });
  const after = button("", () => choose(places[end]), { class: "more" });
  const element = make("div", { class: "prompttext" }, before, list, after);
  let [lens, shown, places, first, end] = [null, "", [], 0, 0];
  let options = new Map(); // place along the axis of positions -> element

  function draw() {
    const { row, column, ...chosen } = view.chosen();
    const folded = { ...view.state, open: [] }; // an image is one piece of the text
    if (lens !== chosen.lens || shown !== view.state.show) places = entries(chosen.lens, folded).filter((each) => !isAbsent(chosen.lens, columnOf(chosen.lens, each)));
    const isNew = lens !== chosen.lens || shown !== view.state.show;
    [lens, shown] = [chosen.lens, view.state.show];
    element.hidden = places.length < 2;
    const entry = entryIn(lens, folded, column);
    const isFocused = list.contains(document.activeElement);
    if (isNew || !options.has(entry)) write(entry);
    for (const each of list.querySelectorAll("[tabindex='0']")) mark(each, false);
    const option = options.get(entry);
    mark(option, true);
    if (isFocused) option.focus({ preventScroll: true });
    const [top, bottom] = [option.offsetTop, option.offsetTop + option.offsetHeight];
    element.scrollTop = Math.min(top - 4, Math.max(element.scrollTop, bottom + 4 - element.clientHeight));
  }

  /** Writes the tokens around one. */
  function write(entry) {
    [first, end] = around(places.indexOf(entry), places.length, MOST_WRITTEN);
    options = new Map(places.slice(first, end).map((each) => [each, optionOf(each)]));
    list.replaceChildren(...options.values());
    list.classList.toggle("unspaced", !isSpaced(lens));
    const left = places.length - end;
    [before.hidden, after.hidden] = [!first, !left];
    [before.textContent, after.textContent] = [`… ${first.toLocaleString("en")} before`, `${left.toLocaleString("en")} more …`];
  }

  function optionOf(entry) {
    const [band, column] = [bandOf(lens, entry), columnOf(lens, entry)];
    const isPart = Boolean(band) || isPartOf(lens, column);
    const isGenerated = lens.generatedFrom !== null && lens.positions[column] >= lens.generatedFrom;
    const text = band?.name ?? (isPart ? tickOf(lens, column) : (lens.characters[column]?.head ?? lens.plainTokens[column]));
    const said = `position ${lens.positions[column]}${isGenerated ? ", generated" : ""}: ${band?.name ?? cutTo(nameOver(lens, column), LONGEST_WRITTEN)}`;
    const kind = ["piece", isPart && "part", isGenerated && "generated"].filter(Boolean).join(" ");
    const option = make("span", { class: kind, role: "option", tabindex: "-1", "aria-selected": "false", "aria-label": said, title: said }, cutTo(text, LONGEST_WRITTEN).replaceAll("\n", "↵\n"));
    return Object.assign(option, { entry });
  }

  function mark(option, isChosen) {
    option.tabIndex = isChosen ? 0 : -1;
    option.setAttribute("aria-selected", String(isChosen));
  }

  function choose(entry) {
    const { row } = view.chosen();
    view.choose(lens, row, entry);
  }

  list.addEventListener("click", ({ target }) => target.entry !== undefined && choose(target.entry));
  list.addEventListener("pointermove", ({ target, shiftKey }) => {
    const isRead = shiftKey && target.entry !== undefined;
    view.over(isRead ? [view.chosen().row, target.entry] : null, lens, isRead);
  });
  list.addEventListener("pointerleave", () => view.over(null, lens));
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") view.home();
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const place = places.indexOf(event.target.entry);
    const there = { ArrowLeft: place - 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowDown: place + 1, Home: 0, End: places.length - 1 }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    if (places[there] !== undefined) choose(places[there]);
  });
  return { element, draw };
}
