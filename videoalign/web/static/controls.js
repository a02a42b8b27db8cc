/* The row of controls under the players: it shows what the clock and the view do, and tells them what to do. */

import { Clock } from "./clock.js";

const RATES = [0.25, 0.5, 0.75, 1, 1.5, 2];
const SLOW = 400; // milliseconds of waiting before it is told
const $ = (id) => document.getElementById(id);

function seconds(time) {
  return `${Math.floor(time / 60)}:${(time % 60).toFixed(2).padStart(5, "0")}`;
}

export class Controls {
  clock = null;
  #view;
  #store;
  #held;
  #slowTimer = 0;

  constructor(view, store) {
    this.#view = view;
    this.#store = store;
    this.#held = [...document.querySelectorAll(".frame .held")];
    $("play").addEventListener("click", () => this.clock?.toggle());
    $("back").addEventListener("click", () => this.clock?.step(-1));
    $("forward").addEventListener("click", () => this.clock?.step(1));
    $("seek").addEventListener("input", ({ target }) => this.clock?.seek(Number(target.value)));
    $("rate").addEventListener("change", ({ target }) => this.setRate(Number(target.value)));
    $("loop").addEventListener("click", () => this.toggleLoop());
    $("wipe").addEventListener("click", () => (view.wipe = !view.wipe));
    $("split").addEventListener("input", ({ target }) => (view.split = target.value / 100));
    $("zoom-in").addEventListener("click", () => view.zoomBy(1.5));
    $("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.5));
    view.addEventListener("change", () => this.#drawView());
    this.#drawView();
  }

  /** Puts a pair's players under this row; what was seen of each clip before is counted on. */
  attach(clips, seen) {
    this.clock?.close();
    const clock = new Clock(clips, { rate: Number($("rate").value), loop: this.#store.get("loop") ?? true, seen });
    this.clock = clock;
    clock.addEventListener("change", () => this.#drawState());
    clock.addEventListener("tick", () => this.#drawTime());
    $("seek").max = clock.length;
    $("length").textContent = seconds(clock.length);
    this.#drawState();
    this.#drawTime();
    return clock;
  }

  detach() {
    this.clock?.close();
    this.clock = null;
  }

  setRate(rate) {
    $("rate").value = rate;
    if (this.clock) this.clock.rate = rate;
  }

  /** One speed up (1) or down (-1). */
  changeRate(by) {
    const at = RATES.indexOf(Number($("rate").value)) + by;
    if (at >= 0 && at < RATES.length) this.setRate(RATES[at]);
  }

  toggleLoop() {
    if (!this.clock) return;
    this.clock.loop = !this.clock.loop;
    this.#store.set("loop", this.clock.loop);
  }

  #drawState() {
    const { clock } = this;
    if (!clock) return;
    $("play").classList.toggle("playing", clock.playing);
    $("play").setAttribute("aria-label", clock.playing ? "Pause" : "Play");
    $("loop").setAttribute("aria-pressed", clock.loop);
    clearTimeout(this.#slowTimer);
    if (clock.waiting) this.#slowTimer = setTimeout(() => ($("slow").hidden = !clock.waiting), SLOW);
    else $("slow").hidden = true;
  }

  #drawTime() {
    const { clock } = this;
    if (!clock) return;
    const { time, length } = clock;
    if (document.activeElement !== $("seek") || clock.playing) $("seek").value = time;
    $("seek").setAttribute("aria-valuetext", `${time.toFixed(1)} of ${length.toFixed(1)} seconds`);
    $("now").textContent = seconds(time);
    $("time").title = `Frame ${clock.frames[0] + 1} of A, frame ${clock.frames[1] + 1} of B`;
    clock.held.forEach((held, side) => (this.#held[side].hidden = !held));
  }

  #drawView() {
    const { wipe, split, zoom } = this.#view;
    $("wipe").setAttribute("aria-pressed", wipe);
    $("split-label").hidden = !wipe;
    $("split").value = 100 * split;
    $("zoom").textContent = `${Math.round(100 * zoom)}%`;
  }
}
