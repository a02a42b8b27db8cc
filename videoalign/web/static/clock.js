/*
 * Two players on one clock.
 *
 * Time runs from 0 to the end of the longer clip, in seconds. The longer clip leads: its own time is the clock's while it
 * plays. The other one is kept beside it by small changes of its speed, and holds its last frame once it is over. Nothing
 * starts, after a pause, a jump or a stall, before both clips stand at the same time and can play.
 */

import { Seen } from "./seen.js";

const LARGEST_NUDGE = 0.6; // share of the speed by which a clip may be hurried or slowed
const NUDGE_PER_SECOND = 15; // share of the speed for a drift of one second
const LOST = 0.25; // seconds of drift beyond which both are stopped and set anew
const LONGEST_STEP = 1; // seconds between two looks at the clock; what lies in a longer step may not have been shown
const PROGRESS = ["seeked", "loadeddata", "canplay", "canplaythrough"];

/** One clip: its player, its frames per second, and the last time at which it still has a frame to show. */
class Track {
  constructor({ video, fps, numFrames }) {
    this.video = video;
    this.fps = fps;
    this.frame = 1 / fps;
    this.length = numFrames / fps;
    this.rest = Math.max(0, this.length - this.frame / 2);
    this.seen = new Seen();
    this.shownTime = null;
  }

  /** Number of the frame on the screen, from 0. */
  get shownFrame() {
    const exact = this.shownTime === null ? this.video.currentTime - this.frame / 2 : this.shownTime;
    return Math.min(Math.max(Math.round(exact * this.fps), 0), Math.round(this.length * this.fps) - 1);
  }

  isOverAt(time) {
    return time >= this.rest;
  }

  /** Stands still at a time, or on the last frame; resolves once the frame is there and, before the end, so is the next. */
  moveTo(time, signal) {
    const { video } = this;
    const at = Math.min(time, this.rest);
    video.pause();
    if (Math.abs(video.currentTime - at) > 1e-4 || video.ended) video.currentTime = at;
    const needed = at < this.rest - 2 * this.frame ? video.HAVE_FUTURE_DATA : video.HAVE_CURRENT_DATA;
    return until(video, () => !video.seeking && video.readyState >= needed, signal);
  }

  /** Keeps `shownTime` at the time stamp of the frame on the screen, where the browser tells it. */
  followFrames(signal) {
    if (!("requestVideoFrameCallback" in this.video)) return;
    const note = (_, { mediaTime }) => {
      this.shownTime = mediaTime;
      if (!signal.aborted) this.video.requestVideoFrameCallback(note);
    };
    this.video.requestVideoFrameCallback(note);
  }
}

function until(video, holds, signal) {
  return new Promise((resolve) => {
    if (holds()) return resolve();
    const settled = new AbortController();
    const look = () => {
      if (!holds()) return;
      settled.abort();
      resolve();
    };
    for (const name of PROGRESS) video.addEventListener(name, look, { signal: AbortSignal.any([settled.signal, signal]) });
  });
}

/**
 * The clock of one pair. Events: `change` when playing, waiting, speed or loop change; `tick` on each picture while it
 * plays and after each jump; `broken` (detail: number of the clip) when a clip cannot be played.
 */
export class Clock extends EventTarget {
  #tracks;
  #lead;
  #follower;
  #rate;
  #loop;
  #standing = 0; // the time while nothing runs
  #lastTime = 0;
  #wanted = false; // somebody asked to play
  #running = false; // the players were set going together
  #gathering = false; // the players are on their way to one time
  #closing = new AbortController();

  /** `clips` are two of `{ video, fps, numFrames }`; the clock takes their players over until it is closed. */
  constructor(clips, { rate = 1, loop = true, seen = [] } = {}) {
    super();
    this.#tracks = clips.map((clip) => new Track(clip));
    const [first, second] = this.#tracks;
    this.#lead = first.length >= second.length ? first : second;
    this.#follower = this.#lead === first ? second : first;
    this.#rate = rate;
    this.#loop = loop;
    this.#tracks.forEach((track, side) => this.#listen(track, side, seen[side]));
    this.#gather(0);
  }

  #listen(track, side, seen) {
    const { signal } = this.#closing;
    const { video } = track;
    track.seen = new Seen(seen);
    track.followFrames(signal);
    video.loop = false;
    video.addEventListener("waiting", () => this.#running && this.#gather(this.time), { signal });
    video.addEventListener("ended", () => track === this.#lead && this.#running && this.#end(), { signal });
    const broken = () => this.dispatchEvent(new CustomEvent("broken", { detail: side }));
    video.addEventListener("error", broken, { signal });
    if (video.error) queueMicrotask(broken);
  }

  /** Seconds of the longer clip. */
  get length() {
    return this.#lead.length;
  }

  /** Seconds of the shorter clip. */
  get shorterLength() {
    return this.#follower.length;
  }

  /** Seconds of one step: a frame of the clip with more of them per second. */
  get frame() {
    return Math.min(...this.#tracks.map((track) => track.frame));
  }

  get time() {
    return this.#running ? Math.min(this.#lead.video.currentTime, this.length) : this.#standing;
  }

  get playing() {
    return this.#wanted;
  }

  /** Whether the players are still on their way to one time, so that nothing moves although it should. */
  get waiting() {
    return this.#gathering;
  }

  get rate() {
    return this.#rate;
  }

  set rate(rate) {
    this.#rate = rate;
    if (this.#running) this.#gather(this.time);
    this.#changed();
  }

  get loop() {
    return this.#loop;
  }

  set loop(loop) {
    this.#loop = loop;
    this.#changed();
  }

  /** Different seconds of each clip that were really played. */
  get watched() {
    return this.#tracks.map((track) => track.seen.seconds);
  }

  /** Which stretches of each clip these are. */
  get seen() {
    return this.#tracks.map((track) => track.seen.stretches);
  }

  /** Number of the frame that each clip shows, from 0. */
  get frames() {
    return this.#tracks.map((track) => track.shownFrame);
  }

  /** Whether each clip is over and holds its last frame. */
  get held() {
    const { time } = this;
    return this.#tracks.map((track) => track === this.#follower && track.length < this.length && track.isOverAt(time));
  }

  play() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#gather(this.#lead.isOverAt(this.#standing) ? 0 : this.#standing);
  }

  pause() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#gather(this.#inFrame(this.time));
  }

  toggle() {
    if (this.#wanted) this.pause();
    else this.play();
  }

  /** Jumps to a time; what played goes on playing there. */
  seek(time) {
    this.#gather(this.#wanted ? time : this.#inFrame(time));
  }

  /** Pauses, and moves by a number of frames. */
  step(frames) {
    const from = this.#inFrame(this.time);
    this.#wanted = false;
    this.#gather(this.#inFrame(from + frames * this.frame));
  }

  /** Stops both players and lets go of them. */
  close() {
    this.#wanted = this.#running = false;
    this.#closing.abort();
    for (const { video } of this.#tracks) video.pause();
  }

  /** The middle of the frame at a time, so that rounding never shows the neighbour. */
  #inFrame(time) {
    const inside = Math.min(Math.max(time, 0), this.#lead.rest);
    return (Math.floor(inside / this.frame + 1e-6) + 0.5) * this.frame;
  }

  async #gather(time) {
    this.#running = false;
    this.#standing = Math.min(Math.max(time, 0), this.#lead.rest);
    if (this.#gathering) return;
    this.#gathering = true;
    this.#changed();
    let reached;
    do {
      reached = this.#standing;
      await Promise.all(this.#tracks.map((track) => track.moveTo(reached, this.#closing.signal)));
    } while (reached !== this.#standing);
    this.#gathering = false;
    if (this.#closing.signal.aborted) return;
    if (this.#wanted && this.#lead.isOverAt(reached)) this.#end();
    else if (this.#wanted) this.#start();
    this.#changed();
    this.dispatchEvent(new Event("tick"));
  }

  #start() {
    this.#running = true;
    this.#lastTime = this.#standing;
    const moving = this.#tracks.filter((track) => !track.isOverAt(this.#standing));
    for (const { video } of moving) video.playbackRate = this.#rate;
    Promise.all(moving.map(({ video }) => video.play())).catch((refused) => {
      if (refused.name === "NotAllowedError") this.pause();
    });
    requestAnimationFrame(() => this.#tick());
  }

  #end() {
    this.#count(this.length);
    if (!this.#loop) this.#wanted = false;
    this.#gather(this.#wanted ? 0 : this.#lead.rest);
  }

  #tick() {
    if (!this.#running) return;
    const { time } = this;
    this.#count(time);
    this.#steer(time);
    this.dispatchEvent(new Event("tick"));
    requestAnimationFrame(() => this.#tick());
  }

  #count(time) {
    for (const track of this.#tracks) {
      const [from, to] = [this.#lastTime, time].map((at) => Math.min(at, track.length));
      if (to - from < LONGEST_STEP) track.seen.add(from, to);
    }
    this.#lastTime = time;
  }

  #steer(time) {
    const { video, rest } = this.#follower;
    if (time >= rest || video.ended || video.paused || this.#lead.video.paused) return;
    const drift = video.currentTime - time;
    if (Math.abs(drift) > LOST * Math.max(1, this.#rate)) {
      this.#gather(time);
      return;
    }
    const nudge = Math.min(Math.max(drift * NUDGE_PER_SECOND, -LARGEST_NUDGE), LARGEST_NUDGE);
    const rate = this.#rate * (1 - (Math.abs(drift) < this.frame / 16 ? 0 : nudge));
    if (Math.abs(video.playbackRate - rate) > 0.004) video.playbackRate = rate;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
