// What is made of several pins: the sum of some, and the difference of two.

import { button, choice, make, menu, tick } from "./dom.js";
import { placeIn, sharedBy, sumKey } from "./groups.js";
import { worded } from "./words.js";

/** `{ element }`, a menu that is made anew when it is opened; `pins()` are all of them, each with its name. */
export function combining(view, pins) {
  const body = make("div", { class: "combine" });
  const element = menu("Combine", body);
  element.classList.add("combining");
  element.addEventListener("toggle", () => element.open && body.replaceChildren(...sumPart(), ...differencePart()));
  const close = () => {
    element.open = false;
    element.querySelector("summary").focus();
  };

  function sumPart() {
    const chosen = new Set();
    const said = make("p", { class: "note", role: "status" });
    const go = button("Pin the sum", () => pinSum([...chosen], said), { disabled: true });
    const boxes = pins().map(({ key, shape, colour, name }) => {
      const [label] = tick("", (isIn) => {
        if (isIn) chosen.add(key);
        else chosen.delete(key);
        go.disabled = chosen.size < 2;
      });
      label.lastChild.append(make("b", { style: { "--pin": colour } }, shape), " ", make("bdi", {}, name));
      return label;
    });
    return [make("h4", {}, "Sum of the pins"), ...boxes, go, said];
  }

  function pinSum(chosen, said) {
    const key = sumKey(chosen);
    const tokens = (lens) => JSON.parse(key.slice(key.indexOf("["))).map((each) => lens.places.get(each));
    const places = view.lenses.map((lens) => placeIn(lens, key)); // in each lens it gets a place
    if (places.every((place) => place === undefined)) {
      const lens = view.lenses.find((each) => !tokens(each).includes(undefined));
      const shared = lens && sharedBy(lens, tokens(lens));
      const text = shared ? `${shared.map((token) => lens.shown[token]).join(" and ")} share a token, which a sum would count twice.` : "No table here has all of them.";
      said.textContent = worded(view.lenses[0], text);
      return;
    }
    if (!view.state.pins.includes(key)) view.pin(key);
    close();
  }

  function differencePart() {
    const options = pins().map(({ key, name, shape }, place) => [String(place), `${shape} ${name}`, key]);
    const keyAt = (list) => options[Number(list.value)][2];
    const check = () => {
      go.disabled = one.value === other.value;
    };
    const [oneLabel, one] = choice("Logit of", options, check);
    const [otherLabel, other] = choice("less that of", options, check);
    other.value = "1";
    const go = button("Show the difference", () => {
      view.change({ difference: Object.freeze([keyAt(one), keyAt(other)]), chart: "difference" });
      close();
    });
    return [make("h4", {}, "Difference of two"), oneLabel, otherLabel, go];
  }
  return { element };
}
