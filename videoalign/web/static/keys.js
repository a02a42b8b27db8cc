/* The keyboard: one table says what each key does, and both obeys it and fills the page that explains it. */

const WRITING = "textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=range])";
const OWN_KEYS = {
  "input[type=radio]": ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"],
  "input[type=range]": ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"],
  "button, a, summary": ["Space", "Enter"],
};
const SHOWN = { Space: "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Backspace: "⌫" };

/** `"Shift+ArrowLeft"` for a key event; letters small, signs as typed. */
function nameOf({ key, shiftKey, ctrlKey, metaKey }) {
  const plain = key === " " ? "Space" : key.length === 1 ? key.toLowerCase() : key;
  const parts = [];
  if (ctrlKey || metaKey) parts.push("Ctrl");
  if (shiftKey && key.length > 1) parts.push("Shift");
  return [...parts, plain].join("+");
}

/**
 * Obeys `groups`, a list of `{ title, keys: [{ keys, says, does, everywhere?, shown? }] }`: `does` is given the key,
 * `everywhere` works while writing too, `shown` are the keys that the page names where those are many. `enabled()` tells whether keys other than those are wanted.
 */
export function obeyKeys(groups, enabled) {
  const actions = new Map(groups.flatMap((group) => group.keys.flatMap((row) => row.keys.map((key) => [key, row]))));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    const { activeElement } = document; // the event's target may have given the keyboard back just now
    if (name === "Escape" && activeElement.matches(WRITING)) return activeElement.blur();
    const row = actions.get(name);
    if (!row || (!row.everywhere && !isFree(activeElement, name, enabled))) return;
    if (event.repeat && !row.repeats) return event.preventDefault();
    event.preventDefault();
    row.does(name);
  });
  releaseAfterPointer();
}

function isFree(target, name, enabled) {
  if (!enabled() || target.matches(WRITING)) return false;
  return !Object.entries(OWN_KEYS).some(([what, own]) => target.matches(what) && own.includes(name));
}

/* A button or a choice that was clicked gives the keyboard back at the next key, so that Space still plays, arrows still
   step and Enter submits; one that opened a dialog gets the focus again when the dialog closes, and gives it back too. */
function releaseAfterPointer() {
  let clicked = false;
  const release = () => {
    const { activeElement } = document;
    if (!clicked || document.querySelector("dialog[open]")) return;
    clicked = false;
    if (activeElement?.matches("button, input[type=radio], input[type=range]")) activeElement.blur();
  };
  addEventListener("pointerdown", () => (clicked = true), true);
  addEventListener("keydown", release, true);
}

function shown(part) {
  return SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part);
}

/** Writes the table of `obeyKeys` into an element. */
export function showKeys(root, groups) {
  const sections = groups.map(({ title, keys }) => {
    const section = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = title;
    const list = document.createElement("dl");
    for (const { keys: obeyed, shown: names = obeyed, says } of keys) {
      const term = document.createElement("dt");
      for (const name of names) {
        const key = document.createElement("kbd");
        key.textContent = name === "+" ? name : name.split("+").map(shown).join(" ");
        term.append(key, " ");
      }
      const meaning = document.createElement("dd");
      meaning.textContent = says;
      const row = document.createElement("div");
      row.append(term, meaning);
      list.append(row);
    }
    section.append(heading, list);
    return section;
  });
  root.replaceChildren(...sections);
}
