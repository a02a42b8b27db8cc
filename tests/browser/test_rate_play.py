"""Two players on one clock: what plays, plays together; what stands, shows the same moment, to the frame."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_shared = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
wait_until, TOGETHER = _shared["wait_until"], _shared["TOGETHER"]

LONG, SHORT = 48 / 24, 45 / 30
FRAME = 1 / 30
"""Seconds of a frame of the faster clip."""
TIMES = "[...document.querySelectorAll('.frame video')].map(v => v.currentTime)"
PAUSED = "[...document.querySelectorAll('.frame video')].map(v => v.paused)"
STILL = "[...document.querySelectorAll('.frame video')].every(v => v.paused && !v.seeking && v.readyState > 1)"
BEGUN = """() => {
  window.begun = [];
  for (const video of document.querySelectorAll('.frame video')) {
    const { play } = video;
    video.play = () => { window.begun.push(video.currentTime); return play.call(video); };
  }
}"""
"""From here on ``begun`` keeps the time of each clip at which it was set going."""
AGAIN = f"""() => {{
  const nearEnd = time => time > {LONG - 0.31}, since = begun.slice(begun.findIndex(nearEnd));
  return begun.some(nearEnd) ? since.filter(time => !nearEnd(time)) : [];
}}"""
"""Those times from the first one near the end of the long clip on, without what was set going there; a busy machine may
set clips going anew anywhere."""
STALL = """async () => {
  const videos = [...document.querySelectorAll('.frame video')];
  while (videos.some(v => v.paused || v.ended)) await new Promise(resolve => setTimeout(resolve, 15));
  videos[1].dispatchEvent(new Event('waiting'));
  return videos.map(v => v.paused);
}"""
SIMULATED = """async ([pace, late]) => {
  const { Clock } = await import("/static/clock.js");
  class Player extends EventTarget {
    at = 0; paused = true; ended = false; seeking = false; error = null; playbackRate = 1; pace = 1;
    readyState = 4; HAVE_CURRENT_DATA = 2; HAVE_FUTURE_DATA = 3;
    get currentTime() { return this.at; }
    set currentTime(time) { this.at = time; this.seeking = true; }
    async play() { this.paused = false; }
    pause() { this.paused = true; }
    arrive() { this.seeking = false; this.dispatchEvent(new Event('seeked')); }
  }
  const players = [new Player(), new Player()], [lead, follower] = players, told = {};
  const draw = globalThis.requestAnimationFrame, waiting = [];
  const settle = () => new Promise(resolve => setTimeout(resolve));
  const state = () => players.map(one => [one.paused, one.at]);
  const pass = seconds => {
    for (const one of players) if (!one.paused) one.at += seconds * one.playbackRate * one.pace;
    for (const does of waiting.splice(0)) does();
  };
  globalThis.requestAnimationFrame = does => waiting.push(does);
  try {
    const clips = [{ video: lead, fps: 24, numFrames: 24 * 90 }, { video: follower, fps: 30, numFrames: 30 * 60 }];
    const clock = new Clock(clips);
    await settle();
    clock.play();
    await settle();
    told.begun = state();
    follower.pace = pace;
    follower.at -= late;
    told.drifts = Array.from({ length: 180 }, () => { pass(1 / 60); return Math.abs(lead.at - follower.at); });
    clock.seek(20);
    told.jumped = [state()];
    for (const one of players) {
      one.arrive();
      await settle();
      told.jumped.push(state());
    }
    follower.at -= 0.5;
    pass(0);
    told.lost = state();
    for (const one of players) one.arrive();
    await settle();
    told.found = state();
    follower.dispatchEvent(new Event('waiting'));
    told.stalled = state();
    clock.close();
  } finally {
    globalThis.requestAnimationFrame = draw;
  }
  return told;
}"""
"""The clock of the page over two players whose time passes as told, one at another pace and behind."""
SHOWN = """() => [...document.querySelectorAll('.frame video')].map(video => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data[0];
})"""


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    return open_programme(grey_dataset)


@pytest.fixture(scope="module")
def rating(programme: Any) -> Any:
    """The rating page on a clip of 2 s at 24 frames per second beside one of 1.5 s at 30."""
    return programme.rater()


@pytest.fixture
def page(rating: Any) -> Any:
    rating.reload()
    wait_until(lambda: any(rating.evaluate(TIMES)), what="for the clips to move")
    return rating


def sides(page: Any) -> tuple[int, int]:
    """Which player has the long clip, and which the short one."""
    lengths = page.evaluate("[...document.querySelectorAll('.frame video')].map(v => v.duration)")
    return (0, 1) if lengths[0] > lengths[1] else (1, 0)


def frames(page: Any) -> tuple[int, int]:
    """Numbers of the frames on the screen, read off their grey: ``(long, short)``."""
    levels = page.evaluate(SHOWN)
    long, short = sides(page)
    return round((levels[long] - 20) / 4), round((levels[short] - 20) / 4)


def are_of_one_moment(long: int, short: int) -> bool:
    return abs(long / 24 - short / 30) <= 1 / 24


def stand(page: Any) -> None:
    page.keyboard.press("Space")
    wait_until(lambda: page.locator("#play:not(.playing)").count() and page.evaluate(STILL))


def seek(page: Any, seconds: float) -> None:
    """Moves the slider."""
    move = "(s, value) => { s.value = value; s.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.locator("#seek").evaluate(move, seconds)


def play_together(page: Any, moments: int = 10) -> None:
    """Waits until both clips were within one frame of each other at so many moments in a row."""
    page.evaluate(TOGETHER, {"clips": 2, "apart": FRAME, "moments": moments, "length": 1e9})


def test_both_clips_move_and_stay_within_one_frame_of_each_other(page: Any) -> None:
    play_together(page, 40)
    assert page.complaints == []


@pytest.mark.parametrize(("pace", "late"), [(0.95, 0.1), (1.05, -0.1), (1, 0.2)])
def test_the_shorter_clip_is_steered_beside_the_longer_one_and_neither_begins_alone(
    programme: Any, pace: float, late: float
) -> None:
    told = programme.admin.evaluate(SIMULATED, [pace, late])
    assert told["begun"] == [[False, 0], [False, 0]]
    assert max(told["drifts"][60:]) < FRAME / 3, "after a second"
    both_stand, one_is_there, both_play = told["jumped"]
    assert both_stand == one_is_there == [[True, 20], [True, 20]]
    assert both_play == [[False, 20], [False, 20]]
    assert told["lost"] == [[True, 20], [True, 20]]
    assert told["found"] == [[False, 20], [False, 20]]
    assert [paused for paused, _ in told["stalled"]] == [True, True]


@pytest.mark.parametrize("keys", [["]", "]"], ["[", "[", "["], ["l"], ["r"], ["j", "]"]], ids="-".join)
def test_after_a_jump_or_a_change_of_speed_they_are_together_again(page: Any, keys: list[str]) -> None:
    for key in keys:
        page.keyboard.press(key)
    play_together(page)


def test_pause_shows_the_same_moment_of_both_and_play_goes_on_from_there(page: Any) -> None:
    play_together(page)
    stand(page)
    left, right = page.evaluate(TIMES)
    assert left == pytest.approx(right, abs=1e-3)
    wait_until(lambda: are_of_one_moment(*frames(page)), what="for the screen to show what was sought")
    page.evaluate(BEGUN)
    page.keyboard.press("Space")
    play_together(page)
    assert page.evaluate("begun.slice(0, 2)") == pytest.approx([left, right], abs=1e-3)


def test_a_step_moves_by_one_frame_of_the_faster_clip_and_back(page: Any) -> None:
    stand(page)
    seek(page, 0.55)
    begun = int(0.55 * 30)
    wait_until(lambda: frames(page)[1] == begun)
    for number in range(1, 6):
        page.keyboard.press("ArrowRight")
        same_moment = int((begun + number + 0.5) / 30 * 24)
        wait_until(lambda shown=(same_moment, begun + number): frames(page) == shown)
    page.keyboard.press(",")
    wait_until(lambda: frames(page)[1] == begun + 4 and page.evaluate(STILL))
    left, right = page.evaluate(TIMES)
    assert left == pytest.approx(right, abs=1e-3)


def test_the_shorter_clip_holds_its_last_frame_and_says_so(page: Any) -> None:
    long, short = sides(page)
    page.keyboard.press("End")
    wait_until(lambda: frames(page) == (47, 44))
    times = page.evaluate(TIMES)
    assert times[long] == pytest.approx(LONG, abs=1 / 24)
    assert times[short] == pytest.approx(SHORT, abs=FRAME)
    held = page.locator(".held")
    wait_until(lambda: held.nth(short).is_visible())
    assert not held.nth(long).is_visible()
    page.keyboard.press("Home")
    wait_until(lambda: frames(page) == (0, 0))
    wait_until(lambda: not held.nth(short).is_visible())


def test_at_the_end_both_begin_again_together_or_stop_there(page: Any) -> None:
    page.evaluate(BEGUN)
    seek(page, LONG - 0.3)
    wait_until(lambda: len(page.evaluate(AGAIN)) >= 2, what="for the end of the long clip, which played alone")
    play_together(page)
    assert page.evaluate(AGAIN)[:2] == [0, 0]
    page.keyboard.press("o")
    seek(page, LONG - 0.3)
    wait_until(lambda: page.locator("#play:not(.playing)").count())
    wait_until(lambda: frames(page) == (47, 44))
    assert all(page.evaluate(PAUSED))
    page.keyboard.press("o")
    page.evaluate(BEGUN)
    page.keyboard.press("Space")
    play_together(page)
    assert page.evaluate("begun.slice(0, 2)") == [0, 0]


def test_a_stall_of_one_clip_holds_the_other(page: Any) -> None:
    assert all(page.evaluate(STALL))
    play_together(page)


def test_two_real_clips_one_of_which_came_with_sound_stay_together_in_silence(
    open_programme: Callable[..., Any], real_dataset: Path
) -> None:
    page = open_programme(real_dataset, f"pairs={write_one_pair(real_dataset)}").rater()
    play_together(page)
    page.keyboard.press("]")
    play_together(page)
    heard = "[...document.querySelectorAll('.frame video')].map(v => v.webkitAudioDecodedByteCount)"
    assert page.evaluate(heard) == [0, 0]
    page.close()


def write_one_pair(folder: Path) -> Path:
    table = folder.with_name("one.csv")
    table.write_text("clip_a,clip_b\np0 model A,p0 model B\n")
    return table


def test_nothing_moves_unasked_where_reduced_motion_is_preferred(programme: Any) -> None:
    page = programme.rater("Still", reduced_motion="reduce")
    assert page.locator("#play:not(.playing)").count() == 1
    wait_until(lambda: page.evaluate(STILL))
    assert page.evaluate(TIMES) == [0, 0]
    page.keyboard.press("Space")
    wait_until(lambda: min(page.evaluate(TIMES)) > 0.1)
