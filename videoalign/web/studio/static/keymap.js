/* What each key of the studio does: one table for the keyboard and for the page that explains it. */

/** `page` gives the things that keys act on; see page.js. */
export function keyGroups({ controls, view, actions }) {
  const row = (keys, says, does, more = {}) => ({ keys, says, does, ...more });
  const pan = (x, y) => () => view.panBy(x, y);
  const seeds = Array.from({ length: 9 }, (_, k) => String(k + 1));
  return [
    {
      title: "Steer",
      keys: [
        row(["Enter"], "Make the clips", actions.make),
        row(["Ctrl+Enter"], "The same, also while writing", actions.make, { everywhere: true }),
        row(["x"], "Cancel what is being made", actions.cancel),
        row(["s"], "To the next slider; arrows move it", actions.nextSlider),
        row(["e"], "Write the prompt (Esc leaves it)", actions.prompt),
        row(["f"], "Open a clip: its sliders come back", actions.openFile),
        row(["c"], "Copy the command", actions.copyCommand),
        row(seeds, "Show the first seed to the ninth", (key) => actions.showSeed(Number(key) - 1), { shown: ["1", "9"] }),
      ],
    },
    {
      title: "Grid",
      keys: [
        row(["g"], "Make the grid", actions.makeGrid),
        row(["ArrowLeft", "ArrowRight"], "Less, more of the first weight", actions.neighbour, { repeats: true }),
        row(["ArrowDown", "ArrowUp"], "Less, more of the second weight", actions.neighbour, { repeats: true }),
      ],
    },
    {
      title: "Play",
      keys: [
        row(["Space"], "Play, pause", () => controls.clock?.toggle()),
        row([","], "One frame back", () => controls.clock?.step(-1), { repeats: true }),
        row(["."], "One frame forward", () => controls.clock?.step(1), { repeats: true }),
        row(["r", "Home"], "From the beginning", () => controls.clock?.seek(0)),
        row(["["], "Slower", () => controls.changeRate(-1)),
        row(["]"], "Faster", () => controls.changeRate(1)),
        row(["o"], "Begin again at the end, or stop there", () => controls.toggleLoop()),
      ],
    },
    {
      title: "Look",
      keys: [
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
        row(["?"], "These keys", actions.help),
      ],
    },
  ];
}
