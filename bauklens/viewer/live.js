// The live page: what is typed is asked for, and what comes back is shown.

import { button, make } from "./dom.js";
import { askForm } from "./liveask.js";
import { changing } from "./livechange.js";
import { fitting } from "./livefit.js";
import { hello } from "./livehello.js";
import { looks } from "./livelooks.js";
import { panes } from "./livepanes.js";
import { server } from "./liveserver.js";
import { status } from "./livestatus.js";

/** Starts the page. */
async function begin() {
  const said = status(document.getElementById("status"), () => running?.abort());
  const there = server();
  let running = null;
  let about;
  try {
    about = await there.get("about");
  } catch (error) {
    said.failed(error.message);
    return;
  }
  document.getElementById("model").textContent = about.model;
  document.title = `${about.model} – bauklens`;
  const form = askForm(about, there, (ask) => look(ask), (place) => change.open(place, form.asked()));
  const shown = panes(document.getElementById("panes"), there, said, (place, ask) => change.open(place, ask));
  const history = looks(document.getElementById("history"), { show: (each) => show(each), pin: (each) => shown.pin(each), open: (ask) => (form.fill(ask), look(ask)) });
  const change = changing(about, (ask) => (form.fill(ask), look(ask)));
  fitting(about, there, said, form, begins);
  const first = hello(document.getElementById("panes"), (prompt) => {
    form.fill({ ...form.asked(), messages: null, prompt });
    look(form.asked());
  });

  /** Gives up what is running, as something else begins. */
  function begins() {
    running?.abort();
    const own = (running = new AbortController());
    return { signal: own.signal, isCurrent: () => running === own };
  }

  /** Has the server look, and shows what comes as it comes; a look that is running is given up. */
  async function look(ask, isNew = true) {
    const { signal, isCurrent } = begins();
    const each = { ask, html: null, answers: null, done: null };
    let prompts = 0; // a change has the model read the prompt once more
    first.away();
    said.begin();
    shown.begin(ask);
    document.getElementById("status").scrollIntoView({ block: "nearest" });
    const told = {
      queued: (before) => said.queued(before),
      progress: (step) => said.step(step),
      prompt(tokens) {
        if (prompts++) said.part("With the change");
        shown.prompt(tokens);
      },
      generated(told) {
        said.step({ what: "Generating", unit: "token", done: told.tokens.length, total: ask.new_tokens });
        shown.generated(told);
      },
      table: shown.table,
      cells: shown.cells,
      figure(html) {
        if (ask.change) said.part("With random changes");
        shown.figure((each.html = html));
      },
      answers(answers) {
        said.part("What follows");
        shown.answers((each.answers = answers));
      },
      done(done) {
        each.done = done;
        if (done.figure) shown.figure((each.html = done.figure));
      },
    };
    try {
      await there.stream("look", ask, (name, value) => isCurrent() && told[name]?.(value), signal);
      if (!isCurrent() || !each.done) return;
      shown.done(each);
      if (isNew) history.add(each);
      else history.fill(each);
      said.done(ask.change || ask.replaced?.length ? "" : " To change a token, press ✎ beside it.");
    } catch (error) {
      if (!isCurrent()) return;
      if (signal.aborted) said.told("Stopped.");
      else said.failed(error.message);
      shown.undo(signal.aborted);
    } finally {
      if (isCurrent()) running = null;
    }
  }

  /** Shows a look of the history; one that only its link is left of is done again. */
  function show(each) {
    form.fill(each.ask);
    if (!each.html) {
      look(each.ask, false);
      return;
    }
    running?.abort();
    running = null;
    shown.whole(each);
    said.clear();
  }

  const linked = history.linked();
  if (linked && document.body.dataset.linked) offer(linked);
  else if (linked) show(linked);
  else form.focus();

  /** Asks before a look is done that another page led to: it may take long, and nobody here has asked for it. */
  function offer(each) {
    form.fill(each.ask);
    const line = make("p", { class: "live-offer" }, "Another page has led here. ", button("Look at this", () => (line.remove(), show(each))));
    document.getElementById("options").after(line);
  }
}

begin().catch((error) => (document.getElementById("status").textContent = `The page could not start: ${error.message}`));
