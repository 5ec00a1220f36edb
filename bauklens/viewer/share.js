// Out of the page: files, the clipboard, and a link that holds what was chosen.

import { make } from "./dom.js";
import { written } from "./state.js";

/** Hands a file to the browser's downloads. */
export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Puts a text on the clipboard, where there is none to be had by way of a selection; returns whether it did. */
export async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "copied" });
    const focused = document.activeElement;
    area.value = text;
    near.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    if (focused instanceof HTMLElement) focused.focus();
    area.remove();
    return isCopied;
  }
}

/** The page's address with the state of one of its viewers. */
export function link(state, number) {
  const told = btoa(String.fromCharCode(...new TextEncoder().encode(written(state))));
  return `${location.href.replace(/#.*/, "")}#lens-${number}=${told.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** The state that the address holds for a viewer; none where it holds none, or no sense. */
export function linked(number) {
  const told = new RegExp(`^#lens-${number}=([\\w-]+)$`).exec(location.hash)?.[1];
  try {
    const bytes = Uint8Array.from(atob(told.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

/** A name for a file: letters, digits and dashes of a text, and of what tells it from others of that text. */
export function fileName(text, what, suffix) {
  const plain = (each) => each.normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${[plain(text).slice(0, 60) || "lens", plain(what).slice(0, 60)].filter(Boolean).join("-")}.${suffix}`;
}
