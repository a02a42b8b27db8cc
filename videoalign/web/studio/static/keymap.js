/* What each key of the studio does: one table for the keyboard and for the page that explains it. */

import { lookKeys, playKeys, row } from "./playing.js";

/** `page` gives the things that keys act on; see page.js. */
export function keyGroups({ controls, view, actions }) {
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
    { title: "Play", keys: playKeys(controls, { back: [","], forward: ["."] }) },
    { title: "Look", keys: [...lookKeys(view), row(["?"], "These keys", actions.help)] },
  ];
}
