// Cells as pixels of a canvas, in one colour; of cells that share a pixel, the strongest.

/** At most so many pixels along a side. */
export const MOST_PIXELS = 1200;

/**
 * Paints a canvas.
 *
 * @param size pixels across and down
 * @param count cells across and down
 * @param ink the colour, as a text
 * @param strength (down, across) -> how strong a cell's colour is, 0..1
 */
export function paintPixels(canvas, size, count, ink, strength) {
  const [across, down] = size;
  [canvas.width, canvas.height] = size;
  const brush = canvas.getContext("2d");
  const image = brush.createImageData(across, down);
  for (let top = 0, place = 3; top < down; top += 1) {
    const [low, high] = shared(top, down, count[1]);
    for (let left = 0; left < across; left += 1, place += 4) {
      const [first, end] = shared(left, across, count[0]);
      let most = 0;
      for (let one = low; one < high; one += 1) for (let other = first; other < end; other += 1) most = Math.max(most, strength(one, other) || 0);
      image.data[place] = 255 * most;
    }
  }
  brush.putImageData(image, 0, 0);
  brush.globalCompositeOperation = "source-in"; // the colour takes the place of black
  brush.fillStyle = ink;
  brush.fillRect(0, 0, across, down);
}

/** The cells that share a pixel: the first, and that after the last. */
export function shared(pixel, pixels, cells) {
  const first = Math.floor((pixel * cells) / pixels);
  return [first, Math.max(first + 1, Math.floor(((pixel + 1) * cells) / pixels))];
}
