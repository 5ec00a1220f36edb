// The note on the chosen cell, which is written as it is typed.

import { button, make } from "./dom.js";
import { LONGEST_NOTE, MOST_NOTES, noted, noteOn } from "./notes.js";
import { layerCalled } from "./words.js";

/** `{ element, draw() }`. */
export function noteField(view) {
  let [cell, isOpen] = [null, false]; // which one it is on, and whether an empty field is open
  const name = make("span");
  const field = make("textarea", { rows: 2, maxlength: LONGEST_NOTE, oninput: () => write(field.value) });
  const add = button("Add a note", () => {
    isOpen = true;
    draw();
    field.focus();
  });
  const remove = button("Remove the note", () => {
    isOpen = false;
    write("");
    add.focus();
  });
  const box = make("div", { class: "field" }, make("label", {}, name, field), remove);
  const element = make("div", { class: "cellnote" }, add, box);

  const here = () => {
    const { lens, row, column } = view.chosen();
    return [lens.layers[row], lens.linked[column]];
  };
  const write = (text) => view.change(noted(view.state, ...here(), text));

  function draw() {
    const { lens, row, column, band } = view.chosen();
    const text = noteOn(view.state, ...here());
    const isAnother = String(here()) !== cell;
    cell = String(here());
    isOpen = (isOpen && !isAnother) || Boolean(text);
    [element.hidden, add.hidden, box.hidden] = [Boolean(band), isOpen, !isOpen];
    add.disabled = view.state.notes.length >= MOST_NOTES;
    add.title = add.disabled ? `there are ${MOST_NOTES} notes, the most that a page can hold` : "";
    name.textContent = `Note on ${layerCalled(lens, row)}, position ${lens.positions[column]}`;
    if (isAnother || document.activeElement !== field) field.value = text;
  }
  return { element, draw };
}
