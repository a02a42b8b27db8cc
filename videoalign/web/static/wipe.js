/* How the two clips are looked at: side by side or one over the other with a split, zoomed and moved together. */

const LARGEST_ZOOM = 8;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Fires `change` when the view changed. Drags on the stage move the split, or the picture once it is zoomed. */
export class View extends EventTarget {
  #stage;
  #wipe = false;
  #split = 0.5;
  #zoom = 1;
  #x = 0; // shift of the picture, in widths of the player
  #y = 0;

  constructor(stage) {
    super();
    this.#stage = stage;
    stage.addEventListener("pointerdown", (event) => this.#drag(event));
    stage.addEventListener("dblclick", () => this.zoomBy(this.#zoom > 1 ? 1 / this.#zoom : 2));
    stage.addEventListener("wheel", (event) => this.#turn(event), { passive: false });
    this.#draw();
  }

  get wipe() {
    return this.#wipe;
  }

  set wipe(wipe) {
    this.#wipe = wipe;
    this.#draw();
  }

  /** Where clip A ends and clip B begins, as a share of the width. */
  get split() {
    return this.#split;
  }

  set split(split) {
    this.#split = clamp(split, 0, 1);
    this.#draw();
  }

  get zoom() {
    return this.#zoom;
  }

  zoomBy(factor) {
    const zoom = clamp(this.#zoom * factor, 1, LARGEST_ZOOM);
    this.#x *= zoom / this.#zoom;
    this.#y *= zoom / this.#zoom;
    this.#zoom = zoom;
    this.#draw();
  }

  panBy(x, y) {
    this.#x += x;
    this.#y += y;
    this.#draw();
  }

  /** As it was before any zoom. */
  reset() {
    this.#zoom = 1;
    this.#draw();
  }

  #draw() {
    const reach = (this.#zoom - 1) / 2;
    this.#x = clamp(this.#x, -reach, reach);
    this.#y = clamp(this.#y, -reach, reach);
    const { style, classList } = this.#stage;
    style.setProperty("--split", `${100 * this.#split}%`);
    style.setProperty("--zoom", this.#zoom);
    style.setProperty("--x", `${100 * this.#x}%`);
    style.setProperty("--y", `${100 * this.#y}%`);
    classList.toggle("wipe", this.#wipe);
    classList.toggle("zoomed", this.#zoom > 1);
    this.dispatchEvent(new Event("change"));
  }

  #turn(event) {
    if (!event.ctrlKey && this.#zoom === 1) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 400));
  }

  #drag(start) {
    if (start.button !== 0 || start.target.closest("button")) return;
    const box = this.#stage.querySelector(".frame").getBoundingClientRect();
    const moveSplit = this.#wipe && (this.#zoom === 1 || start.target.closest(".divider"));
    if (!moveSplit && this.#zoom === 1) return;
    start.preventDefault();
    this.#stage.setPointerCapture(start.pointerId);
    let { clientX, clientY } = start;
    const move = (event) => {
      if (moveSplit) this.split = (event.clientX - box.left) / box.width;
      else this.panBy((event.clientX - clientX) / box.width, (event.clientY - clientY) / box.height);
      ({ clientX, clientY } = event);
    };
    const done = new AbortController();
    const { signal } = done;
    if (moveSplit) move(start);
    this.#stage.addEventListener("pointermove", move, { signal });
    for (const end of ["pointerup", "pointercancel"]) this.#stage.addEventListener(end, () => done.abort(), { signal });
  }
}
