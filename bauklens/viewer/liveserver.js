// What the page asks the server: answers of JSON and files, and events that come one after another.

const STORE = "bauklens token";
const GONE = "The server does not answer: is bauklens serve still running?";

/** The server: `get(what)`, `ask(what, data)`, `stream(what, data, told, signal)`; each has the token that came in the address. */
export function server() {
  const token = tokenHere();
  const page = Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-"); // of this tab
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };

  async function answer(what, options) {
    let found;
    try {
      found = await fetch(`/${what}`, { headers, ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(GONE);
    }
    if (!found.ok) throw new Error(sentence(await found.text()));
    if (localStorage.getItem(STORE) !== token) localStorage.setItem(STORE, token);
    return found;
  }

  const asking = (data, signal = undefined) => ({ method: "POST", body: JSON.stringify({ ...data, page }), signal });
  return {
    get: async (what) => (await answer(what, {})).json(),
    ask: (what, data, signal = undefined) => answer(what, asking(data, signal)),
    /** Hands on every event until one of them is the last: "end", or "stopped" if another look took the place of this one, or the server ends. */
    async stream(what, data, told, signal = undefined) {
      const { body } = await answer(what, asking(data, signal));
      let last = "";
      await eachEvent(body, (name, value) => {
        last = name;
        told(name, value);
      });
      if (last === "stopped") throw new Error("The server has stopped."); // or nobody sees this, as another look is there
      if (!["end", "stopped", "failed"].includes(last)) throw new Error(GONE);
    },
  };
}

/** The token of the address, which is taken out of it; one that is right is kept, for links that are opened in other tabs. */
function tokenHere() {
  const found = /[#&]token=([\w-]+)/.exec(location.hash)?.[1];
  if (found) {
    history.replaceState(null, "", location.hash.replace(/([#&])token=[\w-]+&?/, "$1").replace(/[#&]$/, "") || location.pathname);
  }
  return found ?? localStorage.getItem(STORE) ?? "";
}

/** Reads server-sent events to the end of an answer; the last of one that failed is thrown. */
async function eachEvent(body, told) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(GONE);
    });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(part);
      const said = JSON.parse(data);
      told(name, said);
      if (name === "failed") throw new Error(sentence(said));
    }
  }
}

/** A line of the server as a sentence. */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
