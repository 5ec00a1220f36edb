// The keyboard: where each key goes from a cell, and the list of all keys.

/** What the keys do, as the list says it. */
export const KEYS = [
  ["arrow keys", "move to another cell"],
  ["Home, End", "first or last cell in the row; with Ctrl, in the table"],
  ["Page Up, Page Down", "one screen up or down"],
  ["p", "pin or unpin the cell’s most probable token"],
  ["Enter", "go to the cell’s tokens, or to its line in the reader"],
  ["Enter, Space", "on the column of an image: open or fold it; on a patch of an image: choose its cell"],
  ["n, Shift+N", "the next or previous surprise"],
  ["Shift and pointer", "over the table or the text: the reader shows the cell under it"],
  ["Shift and click", "choose a cell, and keep the previous position in the charts"],
  ["Alt and arrow keys", "on a pin: change its place in the order"],
  ["+, -", "wider or narrower columns"],
  ["/", "search for a token"],
  ["?", "this list"],
  ["Escape", "back to the table"],
];

/** The place that a key goes to, [down, across]; null for any other key. */
export function moved(event, axes, [down, across], page) {
  if (event.altKey || event.metaKey) return null;
  const [lastDown, lastAcross] = [axes.down.length - 1, axes.across.length - 1];
  const far = event.ctrlKey;
  const there = {
    ArrowUp: [far ? 0 : down - 1, across],
    ArrowDown: [far ? lastDown : down + 1, across],
    ArrowLeft: [down, far ? 0 : across - 1],
    ArrowRight: [down, far ? lastAcross : across + 1],
    Home: [far ? 0 : down, 0],
    End: [far ? lastDown : down, lastAcross],
    PageUp: [down - Math.max(1, Math.floor(page)), across],
    PageDown: [down + Math.max(1, Math.floor(page)), across],
  }[event.key];
  if (!there) return null;
  return [Math.max(0, Math.min(lastDown, there[0])), Math.max(0, Math.min(lastAcross, there[1]))];
}
