/* The grid over weights: the plot of the scores, the map of the weights, and the way from point to point. */

import { html, number, range, scale, svg } from "./drawing.js";

const $ = (id) => document.getElementById(id);
const SIZE = 300;
const EDGE = 34;
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Fires `open` (detail: the weights) when a point is chosen. */
export class GridPlots extends EventTarget {
  #grid = null;
  #chosen = -1;

  get points() {
    return this.#grid?.points ?? [];
  }

  /** Shows a grid as the server tells it. */
  show(grid) {
    const focused = document.activeElement?.dataset?.point;
    this.#grid = grid;
    const [across, up] = grid.asked.axes;
    const scored = grid.points.filter(({ scores }) => across in scores && up in scores);
    const front = this.#front(scored, across, up);
    this.#draw($("plot"), (point) => [point.scores[across], point.scores[up]], scored, [`${across} score`, `${up} score`], front);
    this.#draw($("map"), ({ place }) => place, grid.points, [`${across} weight`, `${up} weight`], [], [-0.06, 1.06]);
    if (focused !== undefined) document.querySelector(`[data-point="${focused}"]`)?.focus();
  }

  /** Marks the point with these weights, if there is one. */
  mark(weights) {
    if (!this.#grid) return;
    const { axes } = this.#grid.asked;
    const same = (place) => axes.every((name, k) => Math.abs(place[k] - (weights[name] ?? 0)) < 1e-6);
    this.#chosen = this.points.findIndex(({ place }) => same(place));
    for (const dot of document.querySelectorAll("[data-index]")) {
      dot.setAttribute("aria-pressed", Number(dot.dataset.index) === this.#chosen);
    }
  }

  /** Goes to the nearest point in the direction of an arrow key, by weights. */
  go(key) {
    const { points } = this;
    if (!points.length) return;
    const [dx, dy] = DIRECTIONS[key];
    const from = points[this.#chosen]?.place ?? [0.5, 0.5];
    let best = null;
    points.forEach(({ place }, index) => {
      const [x, y] = [place[0] - from[0], place[1] - from[1]];
      const along = x * dx + y * dy;
      if (index === this.#chosen || along <= 1e-9) return;
      const cost = along + 3 * Math.abs(x * dy - y * dx);
      if (!best || cost < best.cost) best = { cost, index };
    });
    if (best) this.#open(best.index);
  }

  #open(index) {
    const { axes, weights } = this.#grid.asked;
    const { place } = this.points[index];
    const chosen = { ...weights, [axes[0]]: place[0], [axes[1]]: place[1] };
    this.mark(chosen);
    this.dispatchEvent(new CustomEvent("open", { detail: { ...this.#grid.asked, weights: chosen } }));
  }

  /** The points that no other beats on both, in order of the first score. */
  #front(points, across, up) {
    const beaten = ({ scores }) =>
      points.some((other) => other.scores[across] >= scores[across] && other.scores[up] >= scores[up]
        && (other.scores[across] > scores[across] || other.scores[up] > scores[up]));
    return points.filter((point) => !beaten(point)).sort((one, other) => one.scores[across] - other.scores[across]);
  }

  #draw(root, valuesOf, points, titles, front, fixed = null) {
    const values = points.map(valuesOf);
    const ends = [0, 1].map((axis) => fixed ?? (values.length ? range(values.map((value) => value[axis])) : [0, 1]));
    const x = scale(...ends[0], EDGE, SIZE - 8);
    const y = scale(...ends[1], SIZE - EDGE, 8);
    const at = (point) => valuesOf(point).map((value, axis) => (axis ? y(value) : x(value)));
    const marks = [
      svg("rect", { x: EDGE, y: 8, width: SIZE - 8 - EDGE, height: SIZE - EDGE - 8, class: "box" }),
      svg("text", { x: (SIZE + EDGE) / 2, y: SIZE - 4, "text-anchor": "middle" }, titles[0]),
      svg("text", { x: 12, y: (SIZE - EDGE) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(SIZE - EDGE) / 2})` }, titles[1]),
    ];
    for (const [axis, [low, high]] of ends.entries()) {
      for (const value of fixed ? [0, 1] : [low, high]) {
        const place = axis ? { x: EDGE - 4, y: y(value) + 4, "text-anchor": "end" } : { x: x(value), y: SIZE - 18, "text-anchor": "middle" };
        marks.push(svg("text", { ...place, class: "tick" }, number(value)));
      }
    }
    if (front.length > 1) marks.push(svg("polyline", { points: front.map((point) => at(point).join(",")).join(" "), class: "front" }));
    const { points: all } = this;
    for (const point of points) marks.push(this.#dot(root.id, point, all.indexOf(point), at(point)));
    const picture = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group", "aria-label": titles.join(" and ") }, ...marks);
    root.replaceChildren(picture);
  }

  #dot(name, { place, scores }, index, [cx, cy]) {
    const { axes } = this.#grid.asked;
    const weights = axes.map((axis, k) => `${axis} ${place[k]}`).join(", ");
    const says = Object.entries(scores).map(([axis, value]) => `${axis} ${number(value)}`).join(", ");
    const dot = svg("circle", {
      cx, cy, r: 7, class: "point", tabindex: 0, role: "button", "aria-pressed": index === this.#chosen,
      "aria-label": `Weights ${weights}: scores ${says}`, "data-index": index, "data-point": `${name}-${index}`,
    }, svg("title", {}, `${weights}\n${says}`));
    dot.addEventListener("click", () => this.#open(index));
    dot.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      this.#open(index);
    });
    return dot;
  }
}

/** Fills both choices of an axis with the dimensions. */
export function fillAxes(dimensions) {
  for (const [id, chosen] of [["axis-x", 0], ["axis-y", 1]]) {
    $(id).replaceChildren(...dimensions.map((name, k) => html("option", { value: name, textContent: name, selected: k === chosen })));
  }
}
