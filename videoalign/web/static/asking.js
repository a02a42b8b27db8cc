/* The server as a page sees it, and a small store on this computer. */

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

/** The answer to a GET, or to a POST where there is a body: a file as it is, anything else as JSON. */
export async function ask(path, body) {
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  const options = { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  if (body !== undefined) {
    options.method = "POST";
    const isFile = body instanceof Blob;
    options.headers = { "Content-Type": isFile ? "application/octet-stream" : "application/json", "X-CSRF-Token": token };
    options.body = isFile ? body : JSON.stringify(body);
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
