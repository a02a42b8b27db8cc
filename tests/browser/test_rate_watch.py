"""What counts as watched, and when a page shows that somebody is there."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

PLAYED = """async (kept) => {
  const { Seen } = await import("/static/seen.js");
  const seen = new Seen(kept.begin);
  for (const [from, to] of kept.add) seen.add(from, to);
  return [seen.seconds, seen.stretches];
}"""
SEEK = "(s, value) => { s.value = value; s.dispatchEvent(new Event('input', { bubbles: true })); }"


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    return open_programme(grey_dataset, "raters_per_pair=20", "lease_seconds=3")


def beats(page: Any) -> int:
    return sum(url.endswith("/api/heartbeat") for url in page.asked)


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
    for _ in range(5):
        page.locator("#seek").evaluate(SEEK, 0)
        page.keyboard.press("Space")
        page.wait_for_timeout(700)
        page.keyboard.press("Space")
        page.wait_for_timeout(200)
    for key in ("1", "1", "1", "Enter"):
        page.keyboard.press(key)
    left = float(page.inner_text("#ready").removeprefix("Watch both clips for ").removesuffix(" s more"))
    assert 0.5 < left < 1.6
    assert page.inner_text("#count").startswith("0 of")
    page.reload()
    wait_until(lambda: page.locator("#pair").is_visible())
    again = float(page.inner_text("#ready").removeprefix("Watch both clips for ").removesuffix(" s more"))
    assert again == pytest.approx(left, abs=0.15), "what was seen is kept"
    page.locator("#seek").evaluate(SEEK, 0.4)
    page.keyboard.press("Space")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: page.inner_text("#count").startswith("1 of"), what=page.inner_text("#alert-text"))
    assert page.complaints == []


def test_the_heart_beats_only_while_somebody_is_there(programme: Any) -> None:
    page = programme.rater("Away", reduced_motion="reduce")
    page.wait_for_timeout(2500)
    before = beats(page)
    page.wait_for_timeout(4000)
    assert beats(page) == before, "nobody touched anything, and nothing plays"
    page.mouse.move(200, 200)
    page.mouse.move(300, 300)
    page.wait_for_timeout(2500)
    assert beats(page) == before + 1
    page.keyboard.press("Space")
    page.wait_for_timeout(4000)
    assert beats(page) >= before + 3, "the clips play"
