// The Save menu of a look: the page as a file, JSON, the Python and the command that make it again, and its link.

import { button, make, menu } from "./dom.js";
import { addressOf } from "./liveaddress.js";
import { textOf } from "./livecalled.js";
import { copy, download, fileName } from "./share.js";

/** The menu of a look that is done; `state()` is what is chosen in its viewer. */
export function saving({ ask, done }, there, said, state) {
  const named = (suffix) => fileName(textOf(ask), "", suffix);
  const told = make("p", { class: "said", role: "status" });
  const put = async (text, what) => (told.textContent = (await copy(text, told.parentElement)) ? `${what} copied` : "the browser did not allow copying");

  async function file(form, suffix, type) {
    try {
      const found = await there.ask("save", { name: done.name, form, state: state() });
      download(named(suffix), await found.text(), type);
    } catch (error) {
      said.failed(error.message);
    }
  }

  const actions = [
    ["Page (HTML)", () => file("page", "html", "text/html")],
    ["Data (JSON)", () => file("json", "json", "application/json")],
    ["Copy the Python", () => put(done.python, "Python")],
    ...(done.command ? [["Copy the command", () => put(done.command, "command")]] : []),
    ["Copy the link", () => put(`${location.origin}/${addressOf(ask)}`, "link")],
  ];
  return menu("Save", ...actions.map(([text, act]) => button(text, act)), told);
}
