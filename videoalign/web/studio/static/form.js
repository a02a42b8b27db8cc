/* The settings: a slider for each dimension and for the strength, read as the server wants them and set as it says. */

import { plain } from "./text.js";
import { html } from "./drawing.js";

const $ = (id) => document.getElementById(id);
const UNSTEERED = "none";

/** A slider with its name and its value beside it. */
class Slider {
  constructor({ id, title, max, step, value, says }) {
    this.input = html("input", { type: "range", id, min: "0", max: String(max), step: String(step), value: String(value) });
    this.output = html("output", { htmlFor: id });
    this.element = html("div", { className: "slider", title: says }, html("label", { htmlFor: id, textContent: title }), this.input, this.output);
    this.input.addEventListener("input", () => this.#draw());
    this.#draw();
  }

  get value() {
    return Number(this.input.value);
  }

  /** A value outside the slider, or between its marks, moves the ends and the marks. */
  set value(value) {
    if (value > Number(this.input.max)) this.input.max = value;
    if (value < Number(this.input.min)) this.input.min = value;
    const marks = (value - Number(this.input.min)) / Number(this.input.step);
    if (Math.abs(marks - Math.round(marks)) > 1e-6) this.input.step = "any";
    this.input.value = value;
    this.#draw();
  }

  #draw() {
    this.output.textContent = this.value.toFixed(2);
  }
}

/** Seeds as people write them, as in `0, 3, 5-8`; null where it is something else. */
export function readSeeds(text) {
  const seeds = [];
  for (const part of text.split(",").map((one) => one.trim()).filter(Boolean)) {
    const found = /^(\d{1,10})(?:\s*-\s*(\d{1,10}))?$/.exec(part);
    if (!found) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (last < first || last - first > 1000) return null;
    for (let seed = first; seed <= last; seed++) if (!seeds.includes(seed)) seeds.push(seed);
  }
  return seeds.length ? seeds : null;
}

/** Fires `change` whenever a setting is another one, `settled` once a slider is let go. */
export class SettingsForm extends EventTarget {
  #about;
  #weights = new Map();
  #strength;
  #scale;

  constructor(about) {
    super();
    this.#about = about;
    this.#fillMethods();
    this.#fillSliders();
    this.#fillAdapters();
    this.#fillPrompts();
    $("steps").placeholder = about.num_steps;
    this.#draw();
    $("form").addEventListener("input", () => this.#changed("change"));
    $("form").addEventListener("change", () => this.#changed("settled"));
  }

  #fillMethods() {
    for (const { name, title } of this.#about.methods) $("method").append(html("option", { value: name, textContent: title }));
    $("steering").hidden = this.#about.dimensions.length === 0;
  }

  #fillSliders() {
    this.#about.dimensions.forEach((name, place) => {
      const says = `How much ${name} counts`;
      this.#weights.set(name, new Slider({ id: `weight-${place}`, title: name, max: 1, step: 0.05, value: place === 0 ? 1 : 0, says }));
    });
    this.#strength = new Slider({ id: "strength", title: "Strength", max: 6, step: 0.1, value: 2, says: "How hard the guide pulls" });
    $("sliders").replaceChildren(...[...this.#weights.values(), this.#strength].map(({ element }) => element));
  }

  #fillAdapters() {
    for (const name of this.#about.adapters) $("adapter").append(html("option", { value: name, textContent: name }));
    $("adapters").hidden = this.#about.adapters.length === 0;
    this.#scale = new Slider({ id: "scale", title: "Scale", max: 2, step: 0.05, value: 1, says: "How much of the adapter is used" });
    $("scale-slider").replaceChildren(this.#scale.element);
    if (this.#about.dimensions.length === 0 && this.#about.adapters.length) $("adapter").value = this.#about.adapters[0];
  }

  #fillPrompts() {
    const choose = (text) => {
      $("prompt").value = text;
      this.#changed("change");
      this.#changed("settled");
    };
    const chips = this.#about.prompts.slice(0, 6).map((text) => {
      const chip = html("button", { type: "button", className: "chip", textContent: text });
      chip.addEventListener("click", () => choose(text));
      return chip;
    });
    $("prompts").replaceChildren(...chips);
    $("prompts").hidden = chips.length === 0;
    if (!$("prompt").value && this.#about.prompts.length) $("prompt").value = this.#about.prompts[0];
  }

  #changed(name) {
    this.#draw();
    this.dispatchEvent(new Event(name));
  }

  #draw() {
    const method = this.#about.methods.find(({ name }) => name === $("method").value);
    $("method-says").textContent = method?.says ?? "";
    $("sliders").hidden = $("method").value === UNSTEERED;
    $("candidates-field").hidden = !method?.searches;
    $("scale-slider").hidden = $("adapter").value === "";
  }

  /** What is wrong with the settings, in a sentence; empty where nothing is. */
  get fault() {
    const { max_seeds, max_steps, max_prompt_chars } = this.#about.limits;
    const prompt = plain($("prompt").value);
    const seeds = readSeeds($("seeds").value);
    const steps = $("steps").value;
    if (!prompt) return "Write a prompt.";
    if (prompt.length > max_prompt_chars) return `The prompt has ${prompt.length} characters; at most ${max_prompt_chars} are taken.`;
    if (!seeds || seeds.some((seed) => seed >= 2 ** 31)) return "Seeds are whole numbers, as in 0, 3, 5-8.";
    if (seeds.length > max_seeds) return `These are ${seeds.length} seeds; at most ${max_seeds} are compared at once.`;
    if ($("steps").validity.badInput || (steps && !(Number.isInteger(Number(steps)) && Number(steps) >= 1 && Number(steps) <= max_steps)))
      return `Steps are a whole number from 1 to ${max_steps}.`;
    if (!/^[1-9]\d?$/.test($("candidates").value) || Number($("candidates").value) > 64) return "Candidates are a whole number from 1 to 64.";
    return "";
  }

  /** As the server takes them; only where there is no fault. */
  get settings() {
    return {
      prompt: plain($("prompt").value),
      seeds: readSeeds($("seeds").value),
      method: this.#about.dimensions.length ? $("method").value : UNSTEERED,
      weights: Object.fromEntries([...this.#weights].map(([name, slider]) => [name, slider.value])),
      strength: this.#strength.value,
      adapter: $("adapter").value || null,
      scale: this.#scale.value,
      candidates: Number($("candidates").value),
      num_steps: $("steps").value ? Number($("steps").value) : null,
    };
  }

  /** Brings back the settings of a clip. */
  restore({ prompt, seed, method, weights, strength, adapter, scale, candidates, num_steps }) {
    $("prompt").value = prompt;
    $("seeds").value = String(seed);
    $("method").value = method;
    for (const [name, slider] of this.#weights) slider.value = weights[name] ?? 0;
    if (method !== UNSTEERED) this.#strength.value = strength;
    $("candidates").value = candidates;
    $("adapter").value = adapter ?? "";
    this.#scale.value = scale;
    $("steps").value = num_steps ?? "";
    this.#changed("change");
  }

  /** Puts the keyboard on the next slider. */
  focusNext() {
    const inputs = [...document.querySelectorAll(".slider input")].filter((input) => input.checkVisibility());
    const at = inputs.indexOf(document.activeElement);
    inputs[(at + 1) % inputs.length]?.focus();
  }
}
