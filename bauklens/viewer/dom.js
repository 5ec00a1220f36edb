// Elements by name, attributes and children; texts are set as texts, so that nothing needs escaping.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `on...` are listeners, a `style` object sets properties, false and null leave an attribute out. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element, likewise. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button that says what it does. */
export function button(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

/** A labelled list of choices: [value, text] each. */
export function choice(label, options, onchange) {
  const list = make("select", { "aria-label": label, onchange: () => onchange(list.value) });
  list.append(...options.map(([value, text]) => make("option", { value }, text)));
  return [make("label", {}, make("span", {}, label), list), list];
}

/** A labelled box to tick. */
export function tick(label, onchange) {
  const box = make("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  return [make("label", { class: "tick" }, box, make("span", {}, label)), box];
}

/** A menu that opens below its name. It closes when the focus leaves it, and on Escape. */
export function menu(name, ...children) {
  const summary = make("summary", {}, name);
  const body = make("div", { class: "sheet", tabindex: "-1" }, ...children);
  const close = (event) => {
    if (event.key !== "Escape" || !whole.open) return;
    event.stopPropagation();
    whole.open = false;
    summary.focus();
  };
  const leave = (event) => {
    if (!whole.contains(event.relatedTarget)) whole.open = false;
  };
  const whole = make("details", { class: "menu", onkeydown: close, onfocusout: leave }, summary, body);
  return whole;
}
