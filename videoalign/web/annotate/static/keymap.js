/* What each key of the rating page does: one table for the keyboard and for the page that explains it. */

import { lookKeys, playKeys, row } from "./playing.js";

/** `page` gives the things that keys act on; see page.js. */
export function keyGroups({ controls, view, form, actions }) {
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
      keys: playKeys(controls, {
        back: [",", "ArrowLeft"],
        forward: [".", "ArrowRight"],
        jumps: [
          row(["j"], "One second back", () => controls.clock?.seek(controls.clock.time - 1), { repeats: true }),
          row(["l"], "One second forward", () => controls.clock?.seek(controls.clock.time + 1), { repeats: true }),
          row(["End"], "Stop at the last frame", () => controls.clock?.step(Infinity)),
        ],
      }),
    },
    {
      title: "Look",
      keys: [
        ...lookKeys(view),
        row(["p"], "What the prompt came with, large", actions.reference),
        row(["g"], "Guideline with examples", actions.guideline),
        row(["?"], "These keys", actions.help),
      ],
    },
  ];
}
