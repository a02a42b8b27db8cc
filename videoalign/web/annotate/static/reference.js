/* The picture or clip that was asked with beside the prompt: small above the pair, large where it is pressed. */

function made({ url, kind }, large) {
  if (kind === "image") return Object.assign(new Image(), { src: url, alt: "The picture that came with the prompt" });
  const clip = document.createElement("video");
  Object.assign(clip, { muted: true, loop: true, playsInline: true, controls: large });
  clip.autoplay = large && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  clip.preload = large ? "auto" : "metadata";
  clip.src = large ? url : `${url}#t=0.001`; // Safari draws no first frame without a time
  return clip;
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
    dialog.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "p" || event.ctrlKey || event.metaKey) return;
      event.stopPropagation(); // the page would open it again
      if (!event.repeat) dialog.close();
    });
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  }

  /** Shows what this pair was asked with; `null` where there was only the prompt. */
  show(reference) {
    this.#shown = reference;
    this.#dialog.close();
    this.#button.hidden = !reference;
    this.#button.classList.toggle("is-clip", reference?.kind === "video");
    this.#button.replaceChildren(...(reference ? [made(reference, false)] : []));
  }

  open() {
    if (!this.#shown || this.#dialog.open) return;
    this.#large.replaceChildren(made(this.#shown, true));
    this.#dialog.showModal();
  }
}
