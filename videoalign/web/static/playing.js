/* What the keys of every page do that plays clips side by side; see keys.js. */

/** One row of the table of keys. */
export const row = (keys, says, does, more = {}) => ({ keys, says, does, ...more });

/** To play them; `back` and `forward` go by a frame, `jumps` are the page's own rows. */
export function playKeys(controls, { back, forward, jumps = [] }) {
  return [
    row(["Space"], "Play, pause", () => controls.clock?.toggle()),
    row(back, "One frame back", () => controls.clock?.step(-1), { repeats: true }),
    row(forward, "One frame forward", () => controls.clock?.step(1), { repeats: true }),
    ...jumps,
    row(["r", "Home"], "From the beginning", () => controls.clock?.seek(0)),
    row(["["], "Slower", () => controls.changeRate(-1)),
    row(["]"], "Faster", () => controls.changeRate(1)),
    row(["o"], "Begin again at the end, or stop there", () => controls.toggleLoop()),
  ];
}

/** To look at them closely. */
export function lookKeys(view) {
  const pan = (x, y) => () => view.panBy(x, y);
  return [
    row(["w"], "One over the other, with a split", () => (view.wipe = !view.wipe)),
    row([";"], "Split to the left", () => (view.split -= 0.05), { repeats: true }),
    row(["'"], "Split to the right", () => (view.split += 0.05), { repeats: true }),
    row(["+", "="], "Zoom in", () => view.zoomBy(1.5)),
    row(["-"], "Zoom out", () => view.zoomBy(1 / 1.5)),
    row(["0"], "The whole picture", () => view.reset()),
    row(["Shift+ArrowLeft"], "Look further left", pan(0.1, 0), { repeats: true }),
    row(["Shift+ArrowRight"], "Look further right", pan(-0.1, 0), { repeats: true }),
    row(["Shift+ArrowUp"], "Look further up", pan(0, 0.1), { repeats: true }),
    row(["Shift+ArrowDown"], "Look further down", pan(0, -0.1), { repeats: true }),
  ];
}
