/*
 * What is half done: kept on this computer at every change, and with the server by the heartbeat that holds the lease. The
 * heart beats only while somebody is there: after a change, a move of the pointer, a key, or while the clips play.
 */

import { api } from "./api.js";
import { Refused } from "./asking.js";

const DELAY = 700; // milliseconds after the last change
const LONGEST = 15_000; // milliseconds between two heartbeats

export class Drafts {
  #store;
  #read;
  #lost;
  #assignment = null;
  #soon = 0;
  #beat = 0;
  #stirred = false;

  /** `read()` gives the draft of now; `lost(problem)` hears that the server no longer lends the pair. */
  constructor(store, read, lost) {
    this.#store = store;
    this.#read = read;
    this.#lost = lost;
    addEventListener("pagehide", () => this.#keep());
  }

  /** Begins to keep the drafts of an assignment; returns the newest draft there is of it, or null. */
  begin({ id, draft, lease_seconds }) {
    this.#assignment = id;
    this.#stirred = true;
    this.#beat = setInterval(() => this.#stirred && this.#send(), Math.min(LONGEST, (1000 * lease_seconds) / 3));
    const here = ["draft", "last"].map((key) => this.#store.get(key)).find((kept) => kept?.assignment === id);
    if (!here) return draft;
    return draft?.saved_at > here.draft.saved_at ? draft : here.draft;
  }

  /** Something was changed. */
  changed() {
    this.#keep();
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#send(), DELAY);
  }

  /** Somebody is there. */
  stir() {
    this.#stirred = true;
  }

  /** Keeps no more drafts until the next `begin`. */
  stop() {
    clearTimeout(this.#soon);
    clearInterval(this.#beat);
    this.#assignment = null;
  }

  /** The assignment is settled: its draft is needed only if that is undone. */
  finish(id) {
    if (this.#assignment === id) this.#keep();
    this.stop();
    const kept = this.#store.get("draft");
    if (kept?.assignment === id) this.#store.set("last", kept);
  }

  #keep() {
    if (this.#assignment === null) return null;
    const draft = { ...this.#read(), saved_at: Date.now() };
    this.#store.set("draft", { assignment: this.#assignment, draft });
    return draft;
  }

  async #send() {
    const draft = this.#keep();
    if (!draft) return;
    this.#stirred = false;
    const id = this.#assignment;
    try {
      await api.heartbeat(id, draft);
    } catch (problem) {
      if (problem instanceof Refused && id === this.#assignment) this.#lost(problem);
    }
  }
}
