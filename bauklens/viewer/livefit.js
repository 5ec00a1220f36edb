// Where no decoder is there: a quick one is offered, fitted while one waits, and kept for the next time.

import { button, make } from "./dom.js";

/** Puts the offer into the form; `begins()` gives up what is running, and says whether the fit is still what runs. */
export function fitting(about, there, said, form, begins) {
  if (!about.fit) return;
  const offer = make("p", { class: "live-offer" }, "Only the logit lens is available, and in the middle layers it often shows noise. ", button("Fit a quick decoder", fit), " This takes a minute or two for a small model; the decoder is then kept.");
  document.getElementById("options").after(offer);

  async function fit() {
    const { signal, isCurrent } = begins();
    let isThere = false;
    said.begin();
    offer.querySelector("button").disabled = true;
    try {
      await there.stream("fit", {}, (name, value) => {
        if (name === "fitted") {
          isThere = true;
          about.mapped[value.decoder] = value.mapped;
          form.offer(value.decoder, value.called);
        }
        if (!isCurrent()) return;
        if (name === "queued") said.queued(value);
        if (name === "progress") said.step(value);
      }, signal);
      if (isCurrent()) said.done();
    } catch (error) {
      if (isCurrent()) said.failed(signal.aborted ? "Stopped." : error.message);
    }
    if (isThere) offer.remove();
    else offer.querySelector("button").disabled = false; // a look has taken its place, or it was stopped
  }
}
