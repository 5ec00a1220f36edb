// Elements for what is in sight: built as they come into it, taken away as they leave it.

const BEYOND = 3; // places around those in sight

/** The places in sight along one side, and one that is always there. */
export function inSight(scrolled, size, step, count, always) {
  const first = Math.max(0, Math.floor(scrolled / step) - BEYOND);
  const last = Math.min(count - 1, Math.ceil((scrolled + Math.max(0, size)) / step) + BEYOND);
  const places = Array.from({ length: Math.max(0, last - first + 1) }, (_, each) => first + each);
  return always < first || always > last ? [...places, always] : places;
}

/** Elements by key: `keep` builds one that is not there yet, in its place among the others, `sweep` takes away those that were not kept since. */
export function built() {
  const elements = new Map();
  let wanted = new Set();
  return {
    get: (key) => elements.get(key),
    clear: () => elements.clear(),
    keep(key, parent, place, build) {
      wanted.add(key);
      if (!elements.has(key)) {
        elements.set(key, Object.assign(build(), { order: place }));
        const isLast = !(parent.lastElementChild?.order > place);
        const next = isLast ? null : [...parent.children].find((each) => each.order > place);
        parent.insertBefore(elements.get(key), next);
      }
      return elements.get(key);
    },
    sweep() {
      for (const [key, element] of elements) {
        if (wanted.has(key)) continue;
        element.remove();
        elements.delete(key);
      }
      wanted = new Set();
    },
  };
}
