// What is looked at: the newest look, and another that is pinned beside it.

import { button, make } from "./dom.js";
import { answersOf } from "./liveanswers.js";
import { titled } from "./livecalled.js";
import { filling } from "./livefill.js";
import { mounted } from "./livefigure.js";
import { saving } from "./livesave.js";

/** The panes of the page; `changes(place, ask)` is called with the token and the cell that somebody wants to change. */
export function panes(element, there, said, changes) {
  const current = pane(there, said, changes);
  let beside = null;
  element.append(current.element);

  return {
    ...current,
    /** Shows a look beside the newest one, until another is. */
    pin(each) {
      beside?.element.remove();
      beside = pane(there, said, changes, button("Unpin", () => this.unpin()));
      element.append(beside.element);
      element.classList.add("two");
      beside.whole(each);
    },
    unpin() {
      beside?.element.remove();
      beside = null;
      element.classList.remove("two");
    },
  };
}

/** One pane: a heading, a table that fills in or a viewer, and what a change does. */
function pane(there, said, changes, ...buttons) {
  const heading = make("h2", { tabindex: "-1" });
  const tools = make("div", { class: "live-tools" });
  const stage = make("div", { class: "live-stage" });
  const below = make("div", { class: "live-answers", "aria-live": "polite" });
  const element = make("section", { class: "live-pane" }, make("div", { class: "live-head" }, heading, tools), below, stage);
  const table = filling();
  let asked = null;
  let last = null; // the look that is there, until another comes
  let state = {}; // what was chosen in the viewer that was there before

  element.addEventListener("bauklens-state", (event) => (state = JSON.parse(/** @type {CustomEvent} */ (event).detail)));

  element.addEventListener("bauklens-change", (event) => changes(/** @type {CustomEvent} */ (event).detail, asked));

  function begin(ask) {
    asked = ask;
    heading.replaceChildren(titled(ask));
    tools.replaceChildren();
    below.replaceChildren();
    table.begin();
    stage.classList.add("old");
  }

  function fresh(shown) {
    stage.classList.remove("old");
    if (stage.contains(shown)) return;
    if (stage.contains(document.activeElement)) heading.focus({ preventScroll: true }); // what has the focus goes away
    stage.replaceChildren(shown);
  }

  function figure(html) {
    fresh(mounted(html, state));
  }

  function done(each) {
    last = each;
    tools.replaceChildren(...buttons, saving(each, there, said, () => state));
  }

  /** What stands around the table of a look. */
  function around(each) {
    asked = each.ask;
    heading.replaceChildren(titled(asked));
    below.replaceChildren(...(each.answers ? [answersOf(each.answers)] : []));
    done(each);
  }

  return {
    element,
    begin,
    figure,
    done,
    prompt: ({ tokens }) => table.prompt(tokens),
    generated: (told) => (table.generated(told), fresh(table.element)),
    table: (told) => (table.rows(told), fresh(table.element)),
    cells: (cells) => table.cells(cells),
    answers: (answers) => below.replaceChildren(answersOf(answers)),
    whole(each) {
      begin(each.ask);
      figure(each.html);
      around(each);
    },
    /** A look that failed leaves the one before it as it was; of one that was stopped, what came of it stays. */
    undo(isStopped) {
      const isOld = stage.classList.contains("old");
      stage.classList.remove("old");
      if (isOld && last) around(last);
      else if (last && !isStopped) this.whole(last);
      else if (!stage.children.length) heading.replaceChildren();
    },
  };
}
