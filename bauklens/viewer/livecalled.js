// What a look is called, and what is changed in it.

import { make } from "./dom.js";

/** What a look is called. */
export function titled(ask) {
  const text = textOf(ask);
  return make("bdi", {}, text.length > 160 ? `${text.slice(0, 159)}…` : text, changeCalled(ask));
}

/** The prompt of a look, or the last message that its chat has of the user. */
export const textOf = ({ prompt, messages }) => (prompt || messages?.filter(({ role }) => role === "user").at(-1)?.content || messages?.at(-1)?.content || "").trim() || "(blank)";

/** What is changed in a look, in a few words; empty if nothing is. */
export function changeCalled({ change, replaced, called }) {
  if (replaced?.length) return ` · ${called ?? "a token"} → ${String(replaced[0][1]).replace(/^ /, "␣")} (position ${replaced[0][0]} replaced)`;
  if (!change) return "";
  const where = [change.layers && (change.layers.length > 1 ? `layers ${change.layers[0]}–${change.layers.at(-1)}` : `layer ${change.layers[0]}`), change.positions && `position ${change.positions[0]}`].filter(Boolean).join(", ");
  const [token, into] = [change.called?.token ?? change.token, change.called?.into ?? change.into];
  const what = { swap: `${token} → ${into}`, strengthen: `${token} strengthened`, remove: `${token} removed`, patch: "patched from the other prompt" }[change.do];
  return ` · ${what}${where && ` (${where})`}`;
}
