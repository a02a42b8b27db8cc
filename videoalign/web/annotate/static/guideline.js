/* The guideline: what each dimension means, whether it looks at the prompt, and examples with their clips. */

import { api } from "./api.js";
import { titled } from "./verdicts.js";

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function example({ url, text }) {
  const figure = document.createElement("figure");
  if (url) {
    const video = document.createElement("video");
    Object.assign(video, { src: url, muted: true, playsInline: true, controls: true, loop: true, preload: "metadata" });
    video.setAttribute("aria-label", text);
    figure.append(video);
  }
  figure.append(element("figcaption", text));
  return figure;
}

function section(dimension) {
  const made = document.createElement("section");
  const [title, text] = titled(dimension);
  const heading = element("h3", title);
  if (title !== dimension.name) heading.append(" ", element("small", dimension.name));
  const looks = dimension.sees_prompt ? "Judge it with the prompt in mind." : "Judge it whatever the prompt asked for.";
  made.append(heading, element("p", text), element("p", looks, "soft"));
  if (dimension.examples?.length) {
    const examples = element("div", "", "examples");
    examples.append(...dimension.examples.map(example));
    made.append(examples);
  }
  return made;
}

/** Fills an element with the guideline; where it cannot be had, with the sentences that came with the pair. */
export async function fillGuideline(root, dimensions) {
  root.replaceChildren(...dimensions.map(section));
  try {
    root.replaceChildren(...(await api.guideline()).dimensions.map(section));
  } catch (problem) {
    root.append(element("p", `The examples could not be loaded: ${problem.message}`, "soft"));
  }
}
