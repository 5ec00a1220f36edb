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
    return { ask: JSON.parse(new TextDecoder().decode(bytes)), html: null };
  } catch {
    return null;
  }
}
