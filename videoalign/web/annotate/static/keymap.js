/* What each key of the rating page does: one table for the keyboard and for the page that explains it. */

/** `page` gives the things that keys act on; see page.js. */
export function keyGroups({ controls, view, form, actions }) {
  const row = (keys, says, does, more = {}) => ({ keys, says, does, ...more });
  const pan = (x, y) => () => view.panBy(x, y);
  return [
    {
      title: "Judge",
      keys: [
        row(["1", "a"], "A is better", () => actions.judge("left")),
        row(["2", "t"], "Tie", () => actions.judge("tie")),
        row(["3", "b"], "B is better", () => actions.judge("right")),
        row(["4", "x"], "Both are bad", () => actions.judge("both_bad")),
        row(["ArrowUp"], "Mark the dimension before", () => actions.tell(form.move(-1))),
        row(["ArrowDown"], "Mark the next dimension", () => actions.tell(form.move(1))),
        row(["Backspace"], "Take a verdict away", actions.clearVerdict),
        row(["Enter"], "Submit", actions.submit),
        row(["Ctrl+Enter"], "Submit, also while writing", actions.submit, { everywhere: true }),
        row(["u"], "Undo: the last judgement again", actions.undo),
        row(["s"], "Skip this pair and say why", actions.skip),
        row(["c"], "Write a comment (Esc leaves it)", actions.comment),
        row(["n"], "Rate each clip from 1 to 5", actions.rateClips),
      ],
    },
    {
      title: "Play",
      keys: [
        row(["Space"], "Play, pause", () => controls.clock?.toggle()),
        row([",", "ArrowLeft"], "One frame back", () => controls.clock?.step(-1), { repeats: true }),
        row([".", "ArrowRight"], "One frame forward", () => controls.clock?.step(1), { repeats: true }),
        row(["j"], "One second back", () => controls.clock?.seek(controls.clock.time - 1), { repeats: true }),
        row(["l"], "One second forward", () => controls.clock?.seek(controls.clock.time + 1), { repeats: true }),
        row(["r", "Home"], "From the beginning", () => controls.clock?.seek(0)),
        row(["End"], "Stop at the last frame", () => controls.clock?.step(Infinity)),
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
        row(["p"], "What the prompt came with, large", actions.reference),
        row(["g"], "Guideline with examples", actions.guideline),
        row(["?"], "These keys", actions.help),
      ],
    },
  ];
}
