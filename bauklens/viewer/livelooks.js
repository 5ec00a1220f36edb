// The looks so far: back and forward are the browser's own, every look has an address, and any can be pinned.

import { button, make } from "./dom.js";
import { addressOf, askIn } from "./liveaddress.js";
import { changeCalled, textOf } from "./livecalled.js";

const MOST_HELD = 20; // looks whose tables are kept here; older ones are done again

/** `add(look)`, `fill(look)`, `now`, `linked()`; `show(look)`, `pin(look)` and `open(ask)` are called. */
export function looks(element, { show, pin, open }) {
  const all = [];
  let place = -1;
  const list = make("select", { "aria-label": "looks", onchange: () => go(Number(list.value)) });
  const back = button("←", () => go(place - 1), { "aria-label": "the previous look", title: "the previous look" });
  const forth = button("→", () => go(place + 1), { "aria-label": "the next look", title: "the next look" });
  element.append(back, forth, list, button("Pin beside", () => pin(all[place]), { title: "keep this look beside the next ones" }));

  function go(to) {
    place = to;
    history.pushState({ place }, "", addressOf(all[place].ask));
    draw();
    show(all[place]);
  }

  function draw() {
    element.hidden = !all.length;
    list.replaceChildren(...all.map(({ ask }, number) => make("option", { value: number, selected: number === place }, lookNamed(ask, number))));
    back.disabled = place <= 0;
    forth.disabled = place >= all.length - 1;
    all.slice(0, -MOST_HELD).forEach((each) => each !== all[place] && (each.html = null));
  }

  window.addEventListener("popstate", (event) => {
    const to = event.state?.place;
    if (!(to in all) || addressOf(all[to].ask) !== location.hash) {
      const found = askIn(location.hash); // a link that was pasted into this tab, or one of before the page was loaded again
      if (found) open(found.ask);
      return;
    }
    place = to;
    draw();
    show(all[place]);
  });
  return {
    get now() {
      return all[place] ?? null;
    },
    add(each) {
      all.push(each);
      place = all.length - 1;
      history[place && addressOf(each.ask) !== location.hash ? "pushState" : "replaceState"]({ place }, "", addressOf(each.ask));
      draw();
    },
    /** A look that was done again, or that its address asked for. */
    fill(each) {
      if (!all.length) return void this.add(each);
      all[place] = each;
      draw();
    },
    linked: () => askIn(location.hash),
  };
}

const lookNamed = (ask, number) => `${number + 1}: ${textOf(ask).slice(0, 50)}${changeCalled(ask)}`;
