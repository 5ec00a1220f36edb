// Where no decoder is there: a quick one is offered, fitted while one waits, and kept for the next time.

import { button, make } from "./dom.js";

/** Puts the offer into the form. */
export function fitting(about, there, said, form) {
  if (!about.fit) return;
  const offer = make("p", { class: "live-offer" }, "Only the logit lens is here, and what it shows of the middle layers is often noise. ", button("Fit a quick decoder", fit), " It takes a minute or two for a small model, and is kept.");
  document.getElementById("options").after(offer);

  async function fit() {
    said.begin();
    offer.querySelector("button").disabled = true;
    try {
      await there.stream("fit", {}, (name, value) => {
        if (name === "queued") said.queued(value);
        if (name === "progress") said.step(value);
        if (name === "fitted") form.offer(value.decoder, value.called);
      });
      offer.remove();
      said.done();
    } catch (error) {
      offer.querySelector("button").disabled = false;
      said.failed(error.message);
    }
  }
}
