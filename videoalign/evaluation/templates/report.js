"use strict";
// One clock drives every clip: each is played natively and held to the clock by small changes of pace, or a jump when far off.
(() => {
  const videos = [...document.querySelectorAll("video")];
  if (!videos.length) return;
  const toggles = [...document.querySelectorAll(".toggle")];
  const sliders = [...document.querySelectorAll(".player input")];
  const near = new Set();
  const finite = (video) => (Number.isFinite(video.duration) && video.duration > 0 ? video.duration : 0);
  const length = () => Math.max(...videos.map(finite)) || 1;
  let held = 0;
  let since = null;

  const now = () => (since === null ? held : held + (performance.now() - since) / 1000) % length();

  const put = (video, time) => {
    if (video.readyState > 0) video.currentTime = Math.min(time, finite(video));
  };

  const follow = (video, time) => {
    const span = finite(video);
    if (!span || video.seeking) return;
    let late = time - video.currentTime;
    if (late > span / 2) late -= span;
    if (late < -span / 2) late += span;
    if (Math.abs(late) > 0.25) put(video, time);
    const pace = Math.abs(late) < 0.02 ? 1 : 1 + Math.max(-0.5, Math.min(0.5, 2 * late));
    if (Math.abs(video.playbackRate - pace) > 0.01) video.playbackRate = pace;
    if (video.paused) video.play().catch(() => {});
  };

  const show = () => {
    for (const button of toggles) {
      button.textContent = since === null ? "Play" : "Pause";
      button.setAttribute("aria-pressed", String(since !== null));
    }
  };

  const hold = (time) => {
    held = time;
    since = null;
    for (const video of videos) {
      video.pause();
      video.playbackRate = 1;
      put(video, time);
    }
    show();
  };

  const play = (time) => {
    held = time;
    since = performance.now();
    for (const video of near) {
      put(video, time);
      video.play().catch(() => {});
    }
    show();
  };

  const beat = () => {
    const time = now();
    for (const slider of sliders) slider.value = String(time / length());
    if (since !== null) for (const video of near) follow(video, time);
  };

  for (const video of videos) {
    video.controls = false;
    video.muted = true;
    video.addEventListener("loadedmetadata", () => put(video, now()));
  }
  for (const button of toggles) button.addEventListener("click", () => (since === null ? play(now()) : hold(now())));
  for (const button of document.querySelectorAll(".restart")) button.addEventListener("click", () => play(0));
  for (const slider of sliders) slider.addEventListener("input", () => hold(Number(slider.value) * length()));

  // Clips far off the screen rest, so that a phone keeps up.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) near.add(target);
        else if (near.delete(target)) target.pause();
      }
    },
    { rootMargin: "200px" },
  );
  for (const video of videos) watcher.observe(video);
  setInterval(beat, 60);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) hold(0);
  else play(0);
})();
