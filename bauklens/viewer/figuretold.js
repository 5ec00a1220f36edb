// What was chosen of a publication figure -> what is drawn, and the Python that draws the same.

import { CLASSIC } from "./figurecolours.js";
import { cutToUnits } from "./figuredrawing.js";
import { figureNotes, spelledOut } from "./figurenotes.js";
import { roomForColumns } from "./figurelayout.js";
import { aboutUnread, worded } from "./words.js";

/** `{ options, error }`: as `figureSvg` takes them; the error is empty, or says why nothing can be drawn. */
export function figureTold(lens, chosen) {
  const rows = rowsOfFigure(chosen);
  const columns = [];
  for (let column = chosen.first; column <= chosen.last; column += 1) columns.push(column);
  if (!rows.length || !columns.length) return { options: null, error: "nothing is chosen: the first comes after the last" };
  const room = roomForColumns(lens, rows, (chosen.width / 25.4) * 72, chosen.font);
  if (columns.length > room) {
    return { options: null, error: `${columns.length} positions do not fit into ${chosen.width} mm at ${chosen.font} pt, of which ${room} do` };
  }
  if (chosen.colour === "classic" && chosen.palette !== "default") return { options: null, error: "the classic look has colours of its own: choose the palette blue" };
  const unmapped = rows.some((row) => lens.unmapped.includes(lens.layers[row])) ? ["*: the decoder has no map for this row, shown as in the logit lens"] : [];
  const grey = columns.some((column) => (lens.onlyPosition ?? null) !== null && lens.positions[column] !== lens.onlyPosition) ? aboutUnread([lens]) : [];
  const about = figureCaption(lens, rows, columns);
  const caption = chosen.caption ? about : "";
  return { options: { ...chosen, title: "", rows, columns, caption, about, notes: [...grey, ...unmapped], onCells: figureNotes(lens, chosen.cellNotes, rows, columns) }, error: "" };
}

function rowsOfFigure({ from, to, every }) {
  const rows = [];
  for (let row = from; row <= to; row += every) rows.push(row);
  return rows;
}

function figureCaption(lens, rows, columns) {
  const prompt = cutToUnits(spelledOut(lens.prompt), 300);
  const some = (name, count, of) => (count < of ? `${count} of ${of} ${name}s` : of > 1 ? `all ${of} ${name}s` : `one ${name}`);
  const cells = worded(lens, "Each cell shows the most probable token at a layer (row) and a position (column)");
  return `${lens.caption}. Prompt: “${prompt}”. ${cells}; ${some("layer", rows.length, lens.rows)}, ${some("position", columns.length, lens.columns)}.`;
}

/** A character beyond ASCII as Python reads it in a text. */
function asEscape(character) {
  const code = character.codePointAt(0);
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** One line of Python; what is usual is left out. */
export function figurePython(lens, chosen) {
  const rows = rowsOfFigure(chosen);
  const told = (text) => JSON.stringify(text).replace(/[\u007f-\u{10ffff}]/gu, asEscape);
  const label = (row) => (/^\d+$/.test(lens.layers[row]) ? lens.layers[row] : told(lens.layers[row]));
  const isAll = rows.length === lens.rows;
  const pin = (token) => (lens.ids && lens.joint.has(token) === false ? String(lens.ids[token]) : told(lens.texts[token]));
  const texts = chosen.pins.map((token) => (lens.texts.filter((text) => text === lens.texts[token]).length === 1 ? told(lens.texts[token]) : pin(token)));
  const parts = [
    ['"figure.pdf"', true],
    [`layers=[${rows.map(label).join(", ")}]`, !isAll],
    [`positions=slice(${chosen.first}, ${chosen.last + 1})`, chosen.first > 0 || chosen.last < lens.columns - 1],
    [`pins=[${texts.join(", ")}]`, texts.length > 0],
    [`colour=${told(chosen.colour)}`, chosen.colour !== "both"],
    ["charts=True", chosen.charts],
    [`width=${chosen.width}`, chosen.width !== 170],
    [`font_size=${chosen.font}`, chosen.font !== 7],
    [`palette=${told(chosen.palette)}`, chosen.palette !== "default"],
    [`theme=${told(chosen.theme)}`, chosen.theme !== "light"],
    [`color=${told(chosen.color)}`, chosen.colour === "classic" && chosen.color !== CLASSIC],
    ["caption=True", chosen.caption],
    [`notes={${chosen.cellNotes.map(({ row, column, text }) => `(${told(lens.layers[row])}, ${lens.positions[column]}): ${told(text)}`).join(", ")}}`, chosen.cellNotes.length > 0],
  ];
  return `lens.figure(${parts.filter(([, isTold]) => isTold).map(([text]) => text).join(", ")})`;
}
