/* The picture or clip that was asked with beside the prompt: small above the pair, large where it is pressed. */

function made({ url, kind }, large) {
  const element = document.createElement(kind === "image" ? "img" : "video");
  if (kind === "image") element.alt = "The picture that was asked with";
  else Object.assign(element, { muted: true, loop: true, playsInline: true, controls: large, preload: "metadata" });
  element.src = url;
  return element;
}

export class Reference {
  #button;
  #dialog;
  #large;
  #shown = null;

  constructor(button, dialog, large) {
    this.#button = button;
    this.#dialog = dialog;
    this.#large = large;
    button.addEventListener("click", () => this.open());
    dialog.addEventListener("close", () => large.replaceChildren());
  }

  /** Shows what this pair was asked with; `null` where there was only the prompt. */
  show(reference) {
    this.#shown = reference;
    this.#button.hidden = !reference;
    this.#button.replaceChildren(...(reference ? [made(reference, false)] : []));
  }

  open() {
    if (!this.#shown || this.#dialog.open) return;
    this.#large.replaceChildren(made(this.#shown, true));
    this.#dialog.showModal();
  }
}
