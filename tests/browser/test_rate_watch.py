"""What counts as watched, and when a page shows that somebody is there."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

BEAT = 15_000
"""Milliseconds between two heartbeats."""
STANDS = "[...document.querySelectorAll('.frame video')].every(v => v.paused && !v.seeking && v.readyState > 2)"
PLAYS = "[...document.querySelectorAll('.frame video')].every(v => !v.paused)"

PLAYED = """async (kept) => {
  const { Seen } = await import("/static/seen.js");
  const seen = new Seen(kept.begin);
  for (const [from, to] of kept.add) seen.add(from, to);
  return [seen.seconds, seen.stretches];
}"""
PLAY_UNTIL = """async ([from, to]) => {
  const [seek, play] = ['seek', 'play'].map(id => document.getElementById(id));
  const videos = [...document.querySelectorAll('.frame video')], turn = () => new Promise(requestAnimationFrame);
  seek.value = from;
  seek.dispatchEvent(new Event('input', { bubbles: true }));
  play.click();
  while (Math.min(...videos.map(v => v.currentTime)) < to || videos.some(v => v.paused)) await turn();
  play.click();
  while (videos.some(v => !v.paused || v.seeking)) await turn();
  return Math.max(...videos.map(v => v.currentTime));
}"""
"""Plays from a time until both clips are past another, and returns where they stand."""
SEEK = "(s, value) => { s.value = value; s.dispatchEvent(new Event('input', { bubbles: true })); }"


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    return open_programme(grey_dataset, "raters_per_pair=20")


def beats(page: Any) -> int:
    """How often the heart has beaten."""
    page.evaluate("fetch('/health')")  # what the page had sent before is seen by now
    return sum(url.endswith("/api/heartbeat") for url in page.asked)


def left_to_watch(page: Any) -> float:
    return float(page.inner_text("#ready").removeprefix("Watch both clips for ").removesuffix(" s more"))


def test_stretches_that_are_played_again_count_once(programme: Any) -> None:
    for begin, add, seconds, stretches in (
        ([], [[0, 1], [0, 1], [0.5, 1.25]], 1.25, [[0, 1.25]]),
        ([], [[3, 4], [0, 1], [1, 2], [1.9, 3.1]], 4, [[0, 4]]),
        ([[0, 0.5], [2, 3]], [[0.25, 0.75]], 1.75, [[0, 0.75], [2, 3]]),
        (0.5, [[0.4, 0.2], [1, 1]], 0.5, [[0, 0.5]]),
    ):
        found = programme.admin.evaluate(PLAYED, {"begin": begin, "add": add})
        assert found[0] == pytest.approx(seconds)
        assert found[1] == stretches


def test_the_first_second_five_times_is_not_the_whole_clip(programme: Any) -> None:
    page = programme.rater("Looper", reduced_motion="reduce")
    reached = [page.evaluate(PLAY_UNTIL, [0, 0.45]) for _ in range(5)]
    for key in ("1", "1", "1", "Enter"):
        page.keyboard.press(key)
    left = left_to_watch(page)
    assert left == pytest.approx(2 - max(reached), abs=0.15), "of the longer clip"
    assert page.inner_text("#count").startswith("0 of")
    page.reload()
    wait_until(lambda: page.locator("#pair").is_visible() and page.inner_text("#ready").startswith("Watch both"))
    assert left_to_watch(page) == pytest.approx(left, abs=0.15), "what was seen is kept"
    page.locator("#seek").evaluate(SEEK, 0.4)
    page.keyboard.press("Space")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: page.inner_text("#count").startswith("1 of"), what=page.inner_text("#alert-text"))
    assert page.complaints == []


def test_the_heart_beats_only_while_somebody_is_there(programme: Any) -> None:
    page = programme.rater("Away", reduced_motion="reduce")
    page.clock.install(time=0)  # so that minutes pass at once
    page.reload()
    wait_until(lambda: page.locator("#pair").is_visible() and page.evaluate(STANDS))
    page.clock.pause_at(60)
    page.clock.run_for(BEAT)
    before = beats(page)
    assert before > 0, "the page was just opened"
    page.clock.run_for(4 * BEAT)
    assert beats(page) == before, "nobody touched anything, and nothing plays"
    page.mouse.move(200, 200)
    page.mouse.move(300, 300)
    page.clock.run_for(4 * BEAT)
    assert beats(page) == before + 1
    for key in ("[", "[", "[", "Space"):  # so slowly that neither clip ends meanwhile
        page.keyboard.press(key)
    wait_until(lambda: page.evaluate(PLAYS))
    for _ in range(3):
        page.clock.run_for(BEAT)
    assert beats(page) == before + 4, "the clips play"
