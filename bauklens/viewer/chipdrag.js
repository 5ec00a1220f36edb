// Chips are put in another order with a mouse, a pen or a finger.

const DRAGS_FROM = 6; // pixels after which a pointer drags, and does not click

/** `moved(from, to)` is called with the places in `list` of a chip that was dragged and of the chip that it was dropped on. */
export function dragging(list, moved) {
  let grip = null; // { chip, x, y }, and `over`, the chip under the pointer, once it drags
  const chipAt = ({ clientX, clientY }) =>
    [...list.children].find((chip) => {
      const { left, right, top, bottom } = chip.getBoundingClientRect();
      return left <= clientX && clientX <= right && top <= clientY && clientY <= bottom;
    }) ?? null;
  const placeOf = (chip) => [...list.children].indexOf(chip);

  function begin(event) {
    const chip = event.button === 0 && !event.target.closest(".away") && chipAt(event);
    grip = chip ? { chip, x: event.clientX, y: event.clientY } : null;
  }

  function move(event) {
    if (!grip || !event.buttons) return;
    if (!("over" in grip) && Math.hypot(event.clientX - grip.x, event.clientY - grip.y) < DRAGS_FROM) return;
    list.setPointerCapture(event.pointerId); // so that no chip is clicked in the end
    const over = chipAt(event);
    mark(grip.over, false);
    grip.over = over === grip.chip ? null : over;
    mark(grip.over, true);
    grip.chip.classList.add("dragged");
  }

  function end(event) {
    const { chip, over } = grip ?? {};
    grip = null;
    mark(over, false);
    chip?.classList.remove("dragged");
    if (over && event.type === "pointerup") moved(placeOf(chip), placeOf(over));
  }

  const mark = (chip, isOver) => chip?.classList.toggle("over", isOver);
  list.addEventListener("pointerdown", begin);
  list.addEventListener("pointermove", move);
  list.addEventListener("pointerup", end);
  list.addEventListener("pointercancel", end);
}
