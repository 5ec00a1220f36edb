// The view as a picture of its own: SVG with plain colours and texts, and PNG made of that.

import { make } from "./dom.js";
import { cutTo, range, wrapped } from "./numbers.js";

export const SANS = "system-ui, sans-serif";
const FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

const [CAPTION, LINE, GAP] = [24, 16, 14]; // pixels

/** Tables beside each other, `{ scroll, caption, legend: [text, ...] }` each, as SVG with their captions and legends. */
export function svg(panes, title) {
  const plain = plainColour();
  const paper = plain(getComputedStyle(panes[0].scroll).backgroundColor);
  const [parts, ends] = [[], []];
  let left = 0;
  for (const { scroll, caption, legend } of panes) {
    const [width, height] = [Math.round(scroll.clientWidth), Math.round(scroll.clientHeight)];
    const style = getComputedStyle(scroll.closest(".viewer"));
    const written = (text, y, colour) => `<text x="${left}" y="${y}" fill="${colour}" font-family="${SANS}" font-size="12">${escaped(text)}</text>`;
    const below = legend.flatMap((text) => wrapped(text, width / 6.2));
    parts.push(written(cutTo(caption, Math.floor(width / 6.4)), 15, plain(style.color)));
    parts.push(`<svg x="${left}" y="${CAPTION}" width="${width}" height="${height}">`, tableOf(scroll, plain), "</svg>");
    const soft = plain(getComputedStyle(scroll.querySelector(".corner")).color);
    below.forEach((text, line) => parts.push(written(text, CAPTION + height + LINE * (line + 1), soft)));
    ends.push(CAPTION + height + LINE * below.length + 8);
    left += width + GAP;
  }
  const [width, height] = [left - GAP, range(ends)[1]];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="${paper}"/>`,
    ...parts,
    "</svg>",
  ].join("\n");
}

/** Every head and cell of a table where and as it is seen. */
function tableOf(scroll, plain) {
  const frame = scroll.getBoundingClientRect();
  const layers = [".cell", ".row:not(.heads) > .head", ".heads > .head", ".corner"]; // what is above comes later
  const shapes = layers.flatMap((layer) => [...scroll.querySelectorAll(layer)]);
  const isClassic = scroll.matches(".classic");
  const pattern = scroll.querySelector(".none") ? [hatched(plain(getComputedStyle(scroll).borderTopColor))] : [];
  scroll.classList.add("drawn");
  const drawn = [...pattern, ...shapes.flatMap((each) => shapeOf(each, frame, plain, isClassic))].join("\n");
  scroll.classList.remove("drawn");
  return drawn;
}

const hatched = (colour) =>
  `<pattern id="none" width="8" height="8" patternUnits="userSpaceOnUse"><path d="M8 0L0 8" stroke="${colour}"/></pattern>`;

function shapeOf(element, frame, plain, isClassic) {
  const box = element.getBoundingClientRect();
  const [x, y] = [box.left - frame.left, box.top - frame.top].map((each) => Math.round(each * 10) / 10);
  const [w, h] = [box.width, box.height].map((each) => Math.round(each * 10) / 10);
  if (x + w <= 0 || y + h <= 0 || x >= frame.width || y >= frame.height) return [];
  const style = getComputedStyle(element);
  const room = Math.max(1, Math.floor(w / 7));
  const texts = [...element.childNodes].map((node) => node.textContent).filter((text) => text);
  const lines = h < 30 ? [texts.join(" ")] : texts;
  const parts = [`<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${plain(style.backgroundColor)}"/>`];
  if (element.matches(".none")) parts.push(`<rect x="${x}" y="${y}" width="${w - 1}" height="${h - 1}" fill="url(#none)"/>`);
  const share = Number(element.style.getPropertyValue("--m"));
  if (share > 0 && !isClassic) {
    const bar = plain(style.textDecorationColor);
    parts.push(`<rect x="${x}" y="${y + h - 3}" width="${(share * (w - 1)).toFixed(1)}" height="2" fill="${bar}"/>`);
  }
  const pin = element.dataset.pin && plain(getComputedStyle(element, "::before").color);
  if (element.matches(".read")) parts.push(`<rect x="${x}" y="${y}" width="${w - 1}" height="${h - 1}" fill="${plain(style.textDecorationColor)}" opacity="${element.style.getPropertyValue("--s")}"/>`);
  if (element.matches(".edited")) parts.push(`<rect x="${x}" y="${y}" width="${parseFloat(style.borderLeftWidth)}" height="${h - 1}" fill="${plain(style.borderLeftColor)}"/>`);
  if (element.matches(".leads")) {
    const edge = `fill="none" stroke="${pin}" stroke-width="2"`;
    parts.push(`<rect x="${x + 1}" y="${y + 1}" width="${w - 3}" height="${h - 3}" ${edge}/>`);
  }
  lines.forEach((line, place) => {
    const cut = cutTo(line, room - (pin ? 2 : 0));
    const middle = y + (h * (place + 1)) / (lines.length + 1) + 4;
    const ink = `fill="${plain(style.color)}" font-family="${FONT}" font-size="12" text-anchor="middle"`;
    const shape = pin ? `<tspan fill="${pin}">${element.dataset.pin} </tspan>` : "";
    parts.push(`<text x="${x + w / 2}" y="${middle.toFixed(1)}" ${ink}>${shape}${escaped(cut)}</text>`);
  });
  return parts;
}

/** Any colour of CSS -> #rrggbb, as a canvas paints it. */
export function plainColour() {
  const known = new Map();
  const paint = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  return (colour) => {
    if (!known.has(colour)) {
      paint.clearRect(0, 0, 1, 1);
      paint.fillStyle = colour;
      paint.fillRect(0, 0, 1, 1);
      const bytes = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
      known.set(colour, `#${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`);
    }
    return known.get(colour);
  };
}

/** Text for XML: nothing in it is markup, and what XML cannot hold is left out. */
export function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return wellFormed(text).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "").replace(/[&<>"]/g, (each) => names[each]);
}

/** A text without halves of surrogate pairs, which no file can hold. */
const wellFormed = (text) => text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");

/** An SVG as PNG at twice its size, or so many times it, a Blob. */
export async function png(text, scale = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = make("canvas", { width: Math.round(scale * image.width), height: Math.round(scale * image.height) });
  const paint = canvas.getContext("2d");
  paint.scale(scale, scale);
  paint.drawImage(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
