/* Which stretches of a clip were played: what is played again counts once. */

const CLOSE = 1e-3; // seconds between two stretches that are one

export class Seen {
  #stretches = []; // [from, to] in seconds, in order, apart from each other

  /** `kept` is what `stretches` gave before, or a number of seconds from the beginning. */
  constructor(kept = []) {
    for (const [from, to] of typeof kept === "number" ? [[0, kept]] : kept) this.add(from, to);
  }

  /** The stretch between two times was played. */
  add(from, to) {
    if (!(to > from)) return;
    const apart = this.#stretches.filter(([begin, end]) => end < from - CLOSE || begin > to + CLOSE);
    const joined = this.#stretches.filter((one) => !apart.includes(one));
    const whole = [Math.min(from, ...joined.map(([begin]) => begin)), Math.max(to, ...joined.map(([, end]) => end))];
    this.#stretches = [...apart, whole].sort(([one], [other]) => one - other);
  }

  /** Seconds in all. */
  get seconds() {
    return this.#stretches.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  /** The stretches, to be kept. */
  get stretches() {
    return this.#stretches.map((one) => one.map((time) => Number(time.toFixed(3))));
  }
}
