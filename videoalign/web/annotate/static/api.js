/* The server, as the rating page sees it, and the judgements that have not reached it yet. */

import { ask, Refused } from "./asking.js";

export const api = {
  next: () => ask("/api/next"),
  judge: (judgement) => ask("/api/judgements", judgement),
  skip: (assignment, reason) => ask("/api/skip", { assignment, reason }),
  undo: () => ask("/api/undo", {}),
  heartbeat: (assignment, draft) => ask("/api/heartbeat", { assignment, draft }),
  guideline: () => ask("/api/guideline"),
};

/** The one judgement that is on its way: stored before it is sent, and until the server has answered. */
export class Outbox {
  #store;
  #wake = null;

  constructor(store) {
    this.#store = store;
    addEventListener("online", () => this.hurry());
  }

  get waiting() {
    return this.#store.get("outbox");
  }

  /**
   * Sends a judgement, again and again until the server has answered it; `delayed(seconds)` is called before each wait.
   * Resolves with the answer. Throws `Refused`; the judgement stays stored if the session is what was missing.
   */
  async send(judgement, delayed) {
    this.#store.set("outbox", judgement);
    for (let seconds = 2; ; seconds = Math.min(2 * seconds, 30)) {
      try {
        const answer = await api.judge(judgement);
        this.#store.delete("outbox");
        return answer;
      } catch (problem) {
        if (problem instanceof Refused) {
          if (problem.status !== 401) this.#store.delete("outbox");
          throw problem;
        }
        delayed(seconds);
        await this.#pause(seconds);
      }
    }
  }

  /** Ends the wait before the next attempt. */
  hurry() {
    this.#wake?.();
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, 1000 * seconds);
    });
  }
}
