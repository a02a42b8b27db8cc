/* The server, as the rating page sees it, and the judgements that have not reached it yet. */

/** The server answered that it will not: `code` and the reason it gave. */
export class Refused extends Error {
  constructor(status, code, reason) {
    super(reason);
    Object.assign(this, { status, code });
  }
}

/** The server could not be reached, or was in trouble: asking again later may help. */
export class Unreachable extends Error {}

const TIMEOUT = 20_000; // milliseconds
const ROOT = new URL("..", import.meta.url).pathname.slice(0, -1); // what every path of the server begins with

async function ask(path, body) {
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const options = { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
    options.body = JSON.stringify(body);
  }
  let response, answer;
  try {
    response = await fetch(ROOT + path, options);
    answer = await response.json();
  } catch (problem) {
    if (response && response.status >= 400 && response.status < 500) {
      throw new Refused(response.status, "unknown", `the server refused with status ${response.status}`);
    }
    throw new Unreachable(String(problem));
  }
  if (response.ok) return answer;
  const { code = "unknown", reason = `the server answered with status ${response.status}` } = answer.error ?? {};
  if (response.status >= 500 || response.status === 429) throw new Unreachable(reason);
  throw new Refused(response.status, code, reason);
}

export const api = {
  next: () => ask("/api/next"),
  judge: (judgement) => ask("/api/judgements", judgement),
  skip: (assignment, reason) => ask("/api/skip", { assignment, reason }),
  undo: () => ask("/api/undo", {}),
  heartbeat: (assignment, draft) => ask("/api/heartbeat", { assignment, draft }),
  guideline: () => ask("/api/guideline"),
};

/** A small store on this computer, one value a key; a browser that forbids it keeps the values until the page is left. */
export class Store {
  #prefix;
  #memory = new Map();

  constructor(owner) {
    this.#prefix = `videoalign/${owner}/`;
  }

  get(key) {
    try {
      return JSON.parse(localStorage.getItem(this.#prefix + key)) ?? this.#memory.get(key) ?? null;
    } catch {
      return this.#memory.get(key) ?? null;
    }
  }

  set(key, value) {
    this.#memory.set(key, value);
    try {
      localStorage.setItem(this.#prefix + key, JSON.stringify(value));
    } catch {
      // a full or forbidden storage: the value stays in memory
    }
  }

  delete(key) {
    this.#memory.delete(key);
    try {
      localStorage.removeItem(this.#prefix + key);
    } catch {
      // as above
    }
  }
}

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
