/* The jobs of this page: one comparison and one grid at most, asked after until they are over. */

import { ask, Refused } from "./asking.js";

const ASK_EVERY = 250; // milliseconds
const OVER = ["done", "failed", "cancelled"];
const TITLES = { comparison: "Making clips", grid: "Making the grid" };
const $ = (id) => document.getElementById(id);

export class Jobs {
  #running = new Map(); // by kind
  #changed;
  #failed;

  /** `changed` is called with a job whenever it may have come along, `failed` with what went wrong in asking. */
  constructor({ changed, failed }) {
    this.#changed = changed;
    this.#failed = failed;
  }

  /** Follows a job until it is over. */
  async take(job) {
    this.#running.set(job.kind, job);
    while (this.#running.get(job.kind)?.id === job.id) {
      this.#running.set(job.kind, job);
      this.#draw();
      this.#changed(job);
      if (OVER.includes(job.state)) break;
      await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
      job = await this.#ask(job);
    }
    if (this.#running.get(job.kind)?.id === job.id) this.#running.delete(job.kind);
    this.#draw();
  }

  async #ask(job) {
    try {
      return await ask(`/api/jobs/${job.id}`);
    } catch (problem) {
      this.#failed(problem);
      return problem instanceof Refused ? { ...job, state: "failed", error: problem.message } : job;
    }
  }

  /** Gives up the job of a kind, or all of them. */
  async cancel(kind = null) {
    const jobs = [...this.#running.values()].filter((job) => kind === null || job.kind === kind);
    await Promise.all(jobs.map((job) => ask(`/api/jobs/${job.id}/cancel`, {}).catch(this.#failed)));
  }

  /** Follows what was begun before the page was loaded again; `restore` is given the settings of the last comparison. */
  async resume(restore) {
    const { jobs } = await ask("/api/jobs").catch(() => ({ jobs: [] }));
    for (const kind of Object.keys(TITLES)) {
      const last = jobs.filter((job) => job.kind === kind).at(-1);
      if (last?.settings) restore(last.settings);
      if (last && !OVER.includes(last.state)) this.take(last);
      else if (last?.grid) this.#changed(last);
    }
  }

  #draw() {
    const job = this.#running.get("comparison") ?? this.#running.get("grid");
    const isOver = !job || OVER.includes(job.state);
    $("job").hidden = isOver;
    if (isOver) return;
    const { step = 0, of = 0 } = job.now ?? {};
    $("job-title").textContent = TITLES[job.kind];
    $("job-text").textContent = this.#text(job, step, of);
    $("job-progress").value = (job.made + (of ? step / of : 0)) / job.total;
  }

  #text({ state, before, made, total }, step, of) {
    if (state === "waiting") return before ? `${before} ${before === 1 ? "job" : "jobs"} before it` : "next in turn";
    return `clip ${Math.min(made + 1, total)} of ${total}${of ? `, step ${step} of ${of}` : ""}`;
  }
}
