/* The form of one pair: a verdict for each dimension, ratings of each clip, a comment. */

import { plain } from "./text.js";

const SHORT = { left: "A", tie: "Tie", right: "B", both_bad: "Both bad" };
const SIDES = ["left", "right"];

/** A dimension's guideline often begins with its long name and a colon: `[title, rest]`. */
export function titled({ name, guideline }) {
  const colon = guideline.indexOf(":");
  if (colon < 1 || colon > 32) return [name, guideline];
  const rest = guideline.slice(colon + 1).trim();
  return [guideline.slice(0, colon), rest.charAt(0).toUpperCase() + rest.slice(1)];
}

function quoted(comment) {
  const made = document.createElement("q");
  made.textContent = made.title = comment;
  return made;
}

/** Fires `change` on its root whenever a person changed something. */
export class VerdictForm {
  #root;
  #template;
  #comment;
  #dimensions = [];
  #cards = [];
  #current = 0;

  constructor(root, template, comment) {
    this.#root = root;
    this.#template = template;
    this.#comment = comment;
    root.addEventListener("focusin", ({ target }) => {
      const at = this.#cards.findIndex((card) => card.contains(target));
      if (at >= 0) this.#mark(at);
    });
    root.addEventListener("change", ({ target }) => {
      if (target.classList.contains("verdict")) this.#advance();
    });
  }

  /** An empty form for these dimensions; `said` is what other raters said, for who adjudicates. */
  build(dimensions, said) {
    this.#dimensions = dimensions;
    this.#cards = dimensions.map((dimension, at) => this.#card(dimension, at, said));
    this.#root.replaceChildren(...this.#cards);
    this.#root.dataset.count = dimensions.length;
    this.#comment.value = "";
    this.#mark(0);
  }

  #card(dimension, at, said) {
    const card = this.#template.content.firstElementChild.cloneNode(true);
    const [title, hint] = titled(dimension);
    card.querySelector(".title").textContent = title;
    card.querySelector(".name").textContent = title === dimension.name ? "" : dimension.name;
    const note = card.querySelector(".hint");
    note.textContent = note.title = hint;
    note.id = `hint-${at}`;
    card.setAttribute("aria-describedby", note.id);
    for (const input of card.querySelectorAll(".verdict")) input.name = `verdict-${at}`;
    for (const side of SIDES) {
      for (const input of card.querySelectorAll(`.rating.${side} input`)) input.name = `rating-${at}-${side}`;
    }
    this.#say(card.querySelector(".said"), dimension.name, said);
    return card;
  }

  #say(list, name, said) {
    list.hidden = !said?.length;
    for (const { rater, verdicts, comment } of said ?? []) {
      const item = document.createElement("li");
      item.dataset.verdict = verdicts[name] ?? "";
      item.textContent = `Rater ${rater}: ${SHORT[verdicts[name]] ?? "no verdict"}`;
      if (comment) item.append(" ", quoted(comment));
      list.append(item);
    }
  }

  /** What was chosen: `{ verdicts, ratings, comment }`; ratings are null where none was given. */
  get value() {
    const verdicts = {};
    const ratings = { left: {}, right: {} };
    this.#dimensions.forEach(({ name }, at) => {
      const chosen = this.#chosen(`verdict-${at}`);
      if (chosen) verdicts[name] = chosen;
      for (const side of SIDES) {
        const rating = this.#chosen(`rating-${at}-${side}`);
        if (rating) ratings[side][name] = Number(rating);
      }
    });
    const rated = SIDES.some((side) => Object.keys(ratings[side]).length > 0);
    return { verdicts, ratings: rated ? ratings : null, comment: plain(this.#comment.value) };
  }

  /** Puts back what `value` gave. */
  restore({ verdicts = {}, ratings = null, comment = "" }) {
    this.#dimensions.forEach(({ name }, at) => {
      this.#choose(`verdict-${at}`, verdicts[name]);
      for (const side of SIDES) this.#choose(`rating-${at}-${side}`, ratings?.[side]?.[name]);
    });
    this.#comment.value = comment;
    const open = this.#firstMissing();
    this.#mark(open < 0 ? 0 : open);
  }

  #chosen(name) {
    return this.#root.querySelector(`input[name="${name}"]:checked`)?.value || null;
  }

  #choose(name, value) {
    const input = this.#root.querySelector(`input[name="${name}"][value="${value ?? ""}"]`);
    if (input) input.checked = true;
    else for (const one of this.#root.querySelectorAll(`input[name="${name}"]`)) one.checked = false;
  }

  /** Titles of the dimensions without a verdict. */
  get missing() {
    return this.#dimensions.filter((_, at) => !this.#chosen(`verdict-${at}`)).map((one) => titled(one)[0]);
  }

  #firstMissing() {
    return this.#dimensions.findIndex((_, at) => !this.#chosen(`verdict-${at}`));
  }

  /** Gives the marked dimension a verdict and marks the next one without; says what it did. */
  judge(verdict) {
    const input = this.#cards[this.#current]?.querySelector(`.verdict[value="${verdict}"]`);
    if (!input) return "";
    const [title] = titled(this.#dimensions[this.#current]);
    input.checked = true;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return `${title}: ${SHORT[verdict]}`;
  }

  /** Takes the verdict of the marked dimension away, or, if it has none, that of the one before. */
  clear() {
    if (!this.#chosen(`verdict-${this.#current}`)) this.move(-1);
    this.#choose(`verdict-${this.#current}`, null);
    this.#root.dispatchEvent(new Event("change", { bubbles: true }));
    return `${titled(this.#dimensions[this.#current])[0]}: no verdict`;
  }

  /** Marks the next (1) or the previous (-1) dimension; says which. */
  move(by) {
    this.#mark((this.#current + by + this.#cards.length) % this.#cards.length);
    return titled(this.#dimensions[this.#current])[0];
  }

  /** Marks the first dimension without a verdict and brings it into view. */
  showMissing() {
    const at = this.#firstMissing();
    if (at < 0) return;
    this.#mark(at);
    this.#cards[at].scrollIntoView({ block: "nearest" });
  }

  showRatings(shown) {
    this.#root.classList.toggle("with-ratings", shown);
  }

  #advance() {
    const focused = this.#cards.findIndex((card) => card.contains(document.activeElement));
    if (focused >= 0 && focused === this.#current) return; // arrow keys inside the group still choose
    const later = this.#dimensions.findIndex((_, at) => at > this.#current && !this.#chosen(`verdict-${at}`));
    const next = later >= 0 ? later : this.#firstMissing();
    if (next >= 0) this.#mark(next);
  }

  #mark(at) {
    this.#current = at;
    this.#cards.forEach((card, number) => card.classList.toggle("current", number === at));
  }
}
