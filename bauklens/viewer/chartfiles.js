// The charts as files: SVG with plain colours, PNG made of that, and CSV.

import { chartRows } from "./chartnumbers.js";
import { button, make, menu } from "./dom.js";
import { shortest, wrapped } from "./numbers.js";
import { escaped, plainColour, png, SANS } from "./picture.js";
import { download, fileName } from "./share.js";
import { commas } from "./texts.js";

const GEOMETRY = ["x", "y", "x1", "x2", "y1", "y2", "d", "points", "width", "height", "transform", "text-anchor"];
const PAINT = ["fill", "stroke"];
const STROKE = ["stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "paint-order"];
const [EDGE, TEXT_LINE] = [12, 16]; // pixels around it, and of a line of text

/** The menu, an element; `shown()` gives what is drawn. */
export function chartFiles(shown) {
  const named = (which, suffix) => fileName(shown().drawn.lens.prompt, `${shown().drawn.what} across ${["layers", "positions"][which]}`, suffix);
  const svgOf = (which) => chartSvg(shown().charts[which], shown().drawn);
  const actions = ["layers", "positions"].flatMap((name, which) => [
    [`SVG across ${name}`, () => download(named(which, "svg"), svgOf(which), "image/svg+xml")],
    [`PNG across ${name}`, async () => download(named(which, "png"), await png(svgOf(which)), "image/png")],
    [`CSV across ${name}`, () => download(named(which, "csv"), chartCsv(shown().charts[which]), "text/csv")],
  ]);
  return menu("Save", ...actions.map(([text, act]) => button(text, act)));
}

/** A chart as CSV: its axis, and a column for each line; nothing where a value is not known. */
export const chartCsv = (shown) =>
  commas(chartRows(shown).map((row) => row.map((each) => (typeof each !== "number" ? each : Number.isFinite(each) ? shortest(each) : ""))));

/** A chart as SVG, with its title above and what its lines are below. */
function chartSvg({ picture, title, lines, bars = [] }, { lens, entries }) {
  const plain = plainColour();
  const [, , width, height] = picture.getAttribute("viewBox").split(" ").map(Number);
  const style = getComputedStyle(picture.closest(".viewer"));
  const probe = make("span", { hidden: true });
  picture.parentElement.append(probe);
  const colourOf = (colour) => {
    probe.style.color = colour;
    return plain(getComputedStyle(probe).color);
  };
  const ink = plain(style.color);
  const text = (content, x, y, fill, more = "") => `<text x="${x}" y="${y}" fill="${fill}" font-family="${SANS}" font-size="11"${more}>${escaped(content)}</text>`;
  const between = entries[0]?.pair ? [entries[0].name] : [];
  const heads = [title, ...between, lens.prompt.trim()].flatMap((each, place) => wrapped(each, width / 5.8).slice(0, 2).map((line) => [line, place]));
  const above = heads.map(([line, place], row) => text(line, EDGE, EDGE + 10 + TEXT_LINE * row, ink, place ? "" : ' font-weight="600"'));
  const start = EDGE + TEXT_LINE * heads.length;
  const keys = lines.filter(({ values }) => values.some(Number.isFinite));
  const below = [
    ...bars.map(({ name, colours, light }) => [name, `<rect x="${EDGE}" y="-8" width="10" height="8" fill="${colourOf(colours[0])}"/><rect x="${EDGE + 12}" y="-8" width="10" height="8" fill="${colourOf(colours[1])}"/>`, light]),
    ...keys.map(({ name, shape, colour, dash }) => [name, `<line x1="${EDGE}" x2="${EDGE + 22}" y1="-4" y2="-4" stroke="${colourOf(colour)}" stroke-width="2"${dash ? ` stroke-dasharray="${dash}"` : ""}/>${text(shape, EDGE + 28, 0, colourOf(colour))}`]),
  ].map(([name, mark, light], row) => `<g transform="translate(0 ${start + height + EDGE + TEXT_LINE * (row + 0.5)})"><g${light ? ' opacity="0.5"' : ""}>${mark}</g>${text(name, EDGE + 42, 0, ink)}</g>`);
  probe.remove();
  const [wide, tall] = [width + 2 * EDGE, start + height + TEXT_LINE * (below.length + 0.5) + 2 * EDGE];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${tall}" viewBox="0 0 ${wide} ${tall}">`,
    `<title>${escaped(`${title}: ${lens.caption}`)}</title><rect width="${wide}" height="${tall}" fill="${plain(style.backgroundColor)}"/>`,
    ...above,
    `<g transform="translate(${EDGE} ${start})">`,
    ...[...picture.children].filter((each) => !each.matches(".guide")).map((each) => copyOf(each, plain)),
    "</g>",
    ...below,
    "</svg>",
  ].join("\n");
}

/** An element of a chart with its paint as attributes. */
function copyOf(element, plain) {
  const style = getComputedStyle(element);
  const attributes = GEOMETRY.filter((name) => element.hasAttribute(name)).map((name) => [name, element.getAttribute(name)]);
  for (const name of PAINT) attributes.push([name, style[name] === "none" ? "none" : plain(style[name])]);
  for (const name of STROKE) attributes.push([name, style.getPropertyValue(name).replaceAll("px", "")]);
  const isText = element.localName === "text";
  if (isText) attributes.push(["font-family", SANS], ["font-size", parseFloat(style.fontSize)]);
  const told = attributes.map(([name, value]) => `${name}="${escaped(String(value))}"`).join(" ");
  return isText ? `<text ${told}>${escaped(element.firstChild?.nodeValue ?? "")}</text>` : `<${element.localName} ${told}/>`;
}
