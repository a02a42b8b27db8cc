"""What a prompt came with stands beside it, small, and large at a press; the page is then as it was."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from videoalign.data.dataset import Dataset

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

IS_LARGE = "document.getElementById('reference-dialog').open"
SMALL = "(() => { const b = document.getElementById('reference'); return b.hidden ? '' : b.firstChild.tagName; })()"


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The pair of a prompt that came with a picture, and that of one that came with an upright clip."""
    folder = tmp_path_factory.mktemp("asked") / "prefs"
    shutil.copytree(grey_dataset, folder, ignore=shutil.ignore_patterns("annotate.*"))
    Image.new("RGB", (30, 160), "red").save(folder / "clips/start.png")
    dataset = Dataset.open(folder)
    media = ("clips/start.png", "clips/long.mp4")
    dataset.write_prompts(replace(row, media=one) for row, one in zip(dataset.prompts(), media, strict=True))
    return open_programme(folder, "min_watch=0")


@pytest.fixture(scope="module")
def page(programme: Any) -> Any:
    return programme.rater("Iris")


def submitted(page: Any, before: str) -> None:
    """Waits until the pair was taken; else says what the page shows and which part of it has the keyboard."""
    state = "['ready', 'alert-text'].map(id => document.getElementById(id).textContent)"
    count = page.locator("#count")
    wait_until(
        lambda: count.inner_text() != before,
        what=lambda: (
            f"the pair to be submitted: {page.evaluate(f'[...{state}, document.activeElement.cloneNode().outerHTML]')}"
        ),
    )


def test_a_picture_and_a_clip_are_shown_small_and_large(page: Any) -> None:
    seen = set()
    for _ in range(2):
        kind = wait_until(lambda: page.evaluate(SMALL))
        seen.add(kind)
        shown = page.locator("#reference > *")
        wait_until(lambda one=shown: one.evaluate("e => (e.naturalWidth || e.videoWidth) > 0"))
        assert shown.bounding_box()["width"] >= 44 and shown.bounding_box()["height"] == 56
        page.keyboard.press("p")
        assert page.evaluate(IS_LARGE)
        large = page.locator("#reference-large > *")
        wait_until(lambda one=large: one.evaluate("e => e.tagName == 'IMG' ? e.naturalWidth : !e.paused"))
        assert large.bounding_box()["y"] + large.bounding_box()["height"] <= 768
        page.keyboard.press("p")
        assert not page.evaluate(IS_LARGE)
        wait_until(lambda one=large: one.count() == 0, what="it to play no more")
        page.keyboard.press("2")
        page.locator("#reference").click()
        page.locator("#reference-dialog button").click()
        for key in ("2", "2", "2"):
            page.keyboard.press(key)
        done = page.locator("#count").inner_text()
        page.keyboard.press("Enter")
        submitted(page, done)
        assert not page.evaluate(IS_LARGE), "Enter submits; it does not press the button that was clicked before"
    assert seen == {"IMG", "VIDEO"}
    assert page.complaints == []


QUICK = """() => {
  const click = (button) => {
    button.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
    button.focus();
    button.click();
  };
  click(document.getElementById("reference"));
  click(document.querySelector("#reference-dialog button"));
  for (const key of ["2", "2", "2", "Enter"]) {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  }
}"""
"""Two clicks and four keys before the page gets to anything else."""


def test_keys_that_follow_a_click_at_once_are_the_pages_own(programme: Any) -> None:
    page = programme.rater("Otto")
    wait_until(lambda: page.evaluate(SMALL))
    done = page.locator("#count").inner_text()
    page.evaluate(QUICK)
    submitted(page, done)
    assert not page.evaluate(IS_LARGE)
