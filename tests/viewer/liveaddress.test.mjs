import assert from "node:assert/strict";
import test from "node:test";

import { addressOf, askIn } from "../../bauklens/viewer/liveaddress.js";

const change = { do: "swap", token: 5, into: " Rome", layers: ["embed"], positions: null, strength: 1, called: { token: "␣Paris", into: "␣Rome" } };
const whole = { prompt: "𝒳 \u202e </script>", decoder: "logit", stream: "hidden", topk: 5, new_tokens: 0, targets: [" a", 5], sets: [{ name: "b", tokens: ["c"] }], other: "", change, replaced: [[0, "a"]] };

test("what an address asks for is what was put into it", () => {
  for (const ask of [whole, {}, { prompt: "a" }, { messages: [{ role: "user", content: "a" }], change: null }]) assert.deepEqual(askIn(addressOf(ask)).ask, ask);
});

test("an address that makes no sense asks for nothing", () => {
  const change_ = (more) => ({ prompt: "a", change: { ...change, ...more } });
  const odd = [
    null, 5, "a", [], [5], { prompt: 5 }, { prompt: { length: 200 } }, { messages: { length: 1 } }, { messages: [null] }, { messages: [{}] }, { messages: "ab" },
    { targets: "a" }, { targets: [[]] }, { sets: [{ name: "a" }] }, { sets: [null] }, { replaced: [5] }, { replaced: [[0]] }, { topk: "5" }, { change: [] }, { change: 5 },
    change_({ layers: "abc" }), change_({ layers: [5] }), change_({ positions: 5 }), change_({ called: "a" }), change_({ called: { token: {} } }), change_({ do: null }),
  ];
  for (const ask of odd) assert.equal(askIn(addressOf(ask)), null, JSON.stringify(ask));
  for (const hash of ["", "#", "#look=", "#look=a", "#look=!!", "#look=__8", "#look=bnVsbA", "#lookup=e30"]) assert.equal(askIn(hash), null, hash);
});
