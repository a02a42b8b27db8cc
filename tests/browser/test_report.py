"""The report in a real browser: the clips play together, stop together, and nothing is fetched or complained about."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from videoalign.evaluation.report import write_report

build_run = runpy.run_path(str(Path(__file__).parents[1] / "report_example.py"))["build_run"]
_shared = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
wait_until, TOGETHER = _shared["wait_until"], _shared["TOGETHER"]

FRAME_SECONDS = 1 / 8
NUM_VISIBLE = 5
"""Clips of one row; those far off the screen rest."""
LENGTH = 17 / 8
"""Seconds of a clip."""
STATE = "[...document.querySelectorAll('video')].slice(0, %d).map(v => [v.currentTime, v.paused])"
SOUGHT = "![...document.querySelectorAll('video')].some(v => v.seeking)"
BEATS = "new Promise(resolve => setTimeout(resolve, 200))"
"""The page's own clock strikes every 60 ms, so at least once before this."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return write_report(folder, *build_run(folder, num_rows=2))


@pytest.fixture
def page(chromium: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})})
    context.set_default_timeout(90_000)
    tab = context.new_page()
    tab.complaints, tab.fetched = [], []
    tab.on(
        "console", lambda message: tab.complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("request", lambda asked: tab.fetched.append(asked.url[:60]))
    tab.goto(report.as_uri())
    tab.locator(".row").first.scroll_into_view_if_needed()
    tab.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    yield tab
    context.close()


def times(page: Any) -> list[float]:
    return [time for time, _ in page.evaluate(STATE % NUM_VISIBLE)]


def paused(page: Any) -> list[bool]:
    return [
        is_paused for _, is_paused in page.evaluate("[...document.querySelectorAll('video')].map(v => [0, v.paused])")
    ]


def test_clips_move_and_stay_within_one_frame_of_each_other(page):
    page.evaluate(TOGETHER, {"clips": NUM_VISIBLE, "apart": FRAME_SECONDS, "moments": 12, "length": LENGTH})
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.fetched)


def test_pause_stops_every_clip_at_one_moment_and_play_goes_on(page):
    wait_until(lambda: min(times(page)) > 0)
    page.get_by_role("button", name="Pause").first.click()
    wait_until(lambda: page.evaluate(SOUGHT))
    before = times(page)
    page.evaluate(BEATS)
    assert all(paused(page))
    assert times(page) == before
    assert max(before) - min(before) < 0.01
    page.get_by_role("button", name="Play").first.click()
    wait_until(lambda: times(page) != before and not any(paused(page)[:NUM_VISIBLE]))


def test_restart_begins_again_and_the_keyboard_reaches_it(page):
    wait_until(lambda: min(times(page)) > 0.3)
    restart = page.get_by_role("button", name="Restart").first
    restart.evaluate(f"button => button.addEventListener('click', () => window.begun = {STATE % NUM_VISIBLE})")
    restart.focus()
    page.keyboard.press("Enter")
    assert [time for time, _ in page.evaluate("begun")] == [0] * NUM_VISIBLE
    wait_until(lambda: min(times(page)) > 0)


def test_the_slider_holds_every_clip_at_its_place(page):
    page.get_by_role("slider").first.evaluate("s => { s.value = 0.5; s.dispatchEvent(new Event('input')); }")
    wait_until(lambda: page.evaluate(SOUGHT))
    page.evaluate(BEATS)
    assert all(paused(page))
    assert all(abs(time - LENGTH / 2) < FRAME_SECONDS for time in times(page))


@pytest.mark.parametrize("page", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_unasked_where_reduced_motion_is_preferred(page):
    page.evaluate(BEATS)
    assert all(paused(page))
    assert times(page) == [0.0] * NUM_VISIBLE
    page.get_by_role("button", name="Play").first.click()
    wait_until(lambda: min(times(page)) > 0)


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}], indirect=True)
def test_a_phone_in_the_dark_needs_no_sideways_scrolling(page):
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 7
    soft = page.locator(".soft").first.evaluate("e => getComputedStyle(e).color")
    assert contrast(soft, paper) > 4.5


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two ``rgb(r, g, b)`` colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
