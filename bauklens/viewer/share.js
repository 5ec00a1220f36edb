// Out of the page: files, the clipboard, and a link that holds what was chosen.

import { make } from "./dom.js";
import { written } from "./state.js";

const PAUSE = 200; // ms without a change after which the address is written

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

const held = (state, number) => {
  const told = btoa(String.fromCharCode(...new TextEncoder().encode(written(state))));
  return `lens-${number}=${told.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
};

/** The page's address with the state of one of its viewers. */
export const link = (state, number) => `${location.href.replace(/#.*/, "")}#${held(state, number)}`;

/**
 * What keeps the state of a viewer in the page's address, so that it is there after a reload: a function of a state.
 *
 * Only a page of ours is its viewers' to address: in a notebook nothing is kept. An address for something else on the
 * page stays as it is.
 */
export function keeping(number) {
  let waiting = 0;
  const keep = (state) => {
    const parts = location.hash.slice(1).split("&").filter(Boolean);
    const isOurs = (part) => /^(lens-\d+=|result-\d+$)/.test(part);
    if (!parts.every(isOurs)) return;
    const others = parts.filter((part) => !part.startsWith(`lens-${number}=`));
    try {
      history.replaceState(history.state, "", `#${[...others, held(state, number)].join("&")}`);
    } catch {
      // a browser that refuses to (in a frame without an address, or after very many changes) loses no more than a reload does
    }
  };
  return (state) => {
    if (!document.body.classList.contains("bauklens-page")) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => keep(state), PAUSE);
  };
}

/** The state that the address holds for a viewer; none where it holds none, or no sense. */
export function linked(number) {
  const told = new RegExp(`[#&]lens-${number}=([\\w-]+)(?:&|$)`).exec(location.hash)?.[1];
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
