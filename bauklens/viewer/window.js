// Elements for what is in sight: built as they come into it, taken away as they leave it.

/** How many places around those in sight are built with them. */
export const BEYOND = 3;

/** The places in sight along one side, some beyond them, and one that is always there. */
export function inSight(scrolled, size, step, count, always, beyond = BEYOND) {
  const first = Math.max(0, Math.floor(scrolled / step) - beyond);
  const last = Math.min(count - 1, Math.ceil((scrolled + Math.max(0, size)) / step) + beyond);
  const places = Array.from({ length: Math.max(0, last - first + 1) }, (_, each) => first + each);
  return always < first || always > last ? [...places, always] : places;
}

/** Elements by key: `only` takes away all but some, `keep` builds one that is not there yet, in its place among the others. */
export function built() {
  const elements = new Map();
  return {
    get: (key) => elements.get(key),
    values: () => [...elements.values()],
    clear: () => elements.clear(),
    only(keys) {
      for (const [key, element] of elements) {
        if (keys.has(key)) continue;
        element.remove();
        elements.delete(key);
      }
    },
    keep(key, parent, place, build) {
      if (!elements.has(key)) {
        elements.set(key, Object.assign(build(), { order: place }));
        const isLast = !(parent.lastElementChild?.order > place);
        const next = isLast ? null : [...parent.children].find((each) => each.order > place);
        parent.insertBefore(elements.get(key), next);
      }
      return elements.get(key);
    },
  };
}
