// The address of a look: what is asked for, in what comes after the #, which no server is sent.

/** The address of a look. */
export function addressOf(ask) {
  const bytes = new TextEncoder().encode(JSON.stringify(ask));
  const text = btoa(Array.from(bytes, (each) => String.fromCharCode(each)).join(""));
  return `#look=${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** What an address asks for; null if it asks for nothing, or makes no sense. */
export function askIn(hash) {
  const told = /[#&]look=([\w-]+)/.exec(hash)?.[1];
  if (!told) return null;
  try {
    const bytes = Uint8Array.from(atob(told.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
    const ask = JSON.parse(new TextDecoder().decode(bytes));
    return isAsk(ask) ? { ask, html: null } : null;
  } catch {
    return null;
  }
}

const isTextAsked = (each) => typeof each === "string";
const isNumberAsked = (each) => typeof each === "number";
const isTokenAsked = (each) => isTextAsked(each) || isNumberAsked(each);
const isOptional = (is) => (each) => each === null || each === undefined || is(each);
const isListOf = (is) => (each) => Array.isArray(each) && each.every(is);
const isObjectOf = (shape) => (each) => typeof each === "object" && each !== null && !Array.isArray(each) && Object.entries(shape).every(([name, is]) => is(each[name]));

const isChangeAsked = isObjectOf({
  do: isTextAsked, token: isOptional(isTokenAsked), into: isOptional(isTokenAsked), strength: isOptional(isNumberAsked),
  layers: isOptional(isListOf(isTextAsked)), positions: isOptional(isListOf(isNumberAsked)),
  called: isOptional(isObjectOf({ token: isOptional(isTextAsked), into: isOptional(isTextAsked) })),
});

/** Whether it has the form of what the page asks for; anybody can make a link. What it means, the server checks. */
const isAsk = isObjectOf({
  prompt: isOptional(isTextAsked), other: isOptional(isTextAsked), decoder: isOptional(isTextAsked), stream: isOptional(isTextAsked), topk: isOptional(isNumberAsked), new_tokens: isOptional(isNumberAsked),
  messages: isOptional(isListOf(isObjectOf({ role: isTextAsked, content: isTextAsked }))),
  targets: isOptional(isListOf(isTokenAsked)),
  sets: isOptional(isListOf(isObjectOf({ name: isTextAsked, tokens: isListOf(isTokenAsked) }))),
  replaced: isOptional(isListOf((each) => Array.isArray(each) && each.length === 2 && isNumberAsked(each[0]) && isTokenAsked(each[1]))),
  change: isOptional(isChangeAsked),
});
