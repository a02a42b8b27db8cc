/* The players of the page: a video element for each clip on show, and the clips of the next pair loaded ahead. */

import { silentAddress } from "./silence.js";

const SMALL = 100; // pixels; clips up to this width are shown with hard pixels

function newVideo(url) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
  video.disableRemotePlayback = true;
  video.tabIndex = -1;
  video.dataset.url = url;
  silentAddress(url).then((address) => {
    if (!video.dataset.gone) video.src = address;
  });
  return video;
}

export class Players {
  #frames;
  #ahead = new Map();

  /** `frames` are the two boxes, left and right, that a player is put into. */
  constructor(frames) {
    this.#frames = frames;
  }

  /** Puts a pair's clips on show, taking players that were loaded ahead; returns what a clock needs. */
  show(clips) {
    const shown = clips.map((clip, side) => {
      const video = this.#ahead.get(clip.url) ?? newVideo(clip.url);
      video.setAttribute("aria-label", `Clip ${"AB"[side]}`);
      video.classList.toggle("small", clip.width <= SMALL);
      release(this.#frames[side].querySelector("video"));
      this.#frames[side].prepend(video);
      this.#ahead.delete(clip.url);
      return { video, fps: clip.fps, numFrames: clip.num_frames };
    });
    this.#forget();
    return shown;
  }

  /** Begins to load clips that will be shown next. */
  prepare(urls) {
    for (const url of urls) if (!this.#ahead.has(url)) this.#ahead.set(url, newVideo(url));
  }

  /** Loads one clip again from the beginning. */
  reload(side) {
    const video = this.#frames[side].querySelector("video");
    if (video) video.src = video.dataset.url;
  }

  /** Takes both players away. */
  clear() {
    for (const frame of this.#frames) release(frame.querySelector("video"));
  }

  #forget() {
    for (const video of this.#ahead.values()) release(video);
    this.#ahead.clear();
  }
}

function release(video) {
  if (!video) return;
  video.dataset.gone = "yes";
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
  video.remove();
}
