// Some of many places: those around one.

/** At most so many places around one: the first, and that after the last. */
export function around(place, count, most) {
  const first = Math.max(0, Math.min(place - Math.floor(most / 2), count - most));
  return [first, Math.min(count, first + most)];
}
