"""A programme from the first link to the decision: two raters disagree, an adjudicator settles it, an admin sees it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.data.dataset import Dataset

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

LONG_IS_LEFT = "(([a, b]) => a.duration > b.duration)([...document.querySelectorAll('.frame video')])"


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    """Two pairs; on each, one rater finds the long clip better on all dimensions and the other one the short clip."""
    opened = open_programme(grey_dataset, "min_watch=0.05", "raters_per_pair=2")
    for name, likes_long in (("Ada", True), ("Ben", False)):
        page = opened.rater(name)
        if not likes_long:
            page.keyboard.press("c")
            page.keyboard.type("<b>short</b> & steady")
            page.keyboard.press("Escape")
        for number in range(2):
            judge(page, "1" if long_is_left(page) == likes_long else "3", number)
        page.close()
    return opened


def long_is_left(page: Any) -> bool:
    wait_until(lambda: page.evaluate("[...document.querySelectorAll('.frame video')].every(v => v.readyState > 1)"))
    return page.evaluate(LONG_IS_LEFT)


def judge(page: Any, key: str, number: int) -> None:
    for _ in range(page.locator(".dimension").count()):
        page.keyboard.press(key)
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: page.inner_text("#count").startswith(f"{number + 1} of"), what=page.inner_text("#alert-text"))


def test_an_adjudicator_sees_what_was_said_and_decides(programme: Any) -> None:
    page = programme.come_in(programme.invite("adjudicator", "Dee"), "**/adjudicate")
    page.wait_for_load_state()
    assert page.locator("tbody tr").count() == 2
    page.get_by_role("link", name="Begin with the first").press("Enter")
    page.wait_for_url("**/rate", wait_until="commit")
    comments: list[str] = []
    for number in range(2):
        wait_until(lambda number=number: page.inner_text("#count").startswith(f"{number} of"))
        left = long_is_left(page)
        said = page.locator(".dimension").first.locator(".said li").all_inner_texts()
        comments.append(said[1][10:].strip())
        assert [one[:10] for one in said] == [f"Rater 1: {'AB'[not left]}", f"Rater 2: {'AB'[left]}"]
        assert page.inner_text("#round") == "Adjudication: your verdict is final"
        assert page.locator("#undo").is_hidden()
        judge(page, "1" if left else "3", number)
    wait_until(lambda: page.locator("#panel").is_visible())
    assert page.locator("#panel-undo").is_hidden(), "a decision is final"
    assert sorted(comments) == ["", "<b>short</b> & steady"]
    page.goto(f"{programme.url}/adjudicate")
    assert "No pair waits for a decision now." in page.inner_text("main")


def test_admin_pages_show_the_disagreement_and_the_decision(programme: Any) -> None:
    page = programme.admin
    page.goto(f"{programme.url}/admin")
    assert "4 of 4 judgements" in page.inner_text("main")
    page.get_by_role("link", name="Agreement", exact=True).press("Enter")
    page.wait_for_url("**/admin/agreement")
    alpha = page.get_by_role("row", name="Krippendorff's alpha, labels").first.locator("td").first.inner_text()
    assert float(alpha.split()[0]) == -0.5
    raw = page.get_by_role("row", name=re.compile("^Same verdict by two raters")).first.locator("td").first.inner_text()
    assert raw == "0%"
    page.get_by_role("link", name="Pairs", exact=True).press("Enter")
    page.wait_for_url("**/admin/pairs")
    assert page.locator("tbody tr").count() == page.get_by_role("row").filter(has_text="adjudicated").count() == 2
    assert page.complaints == []


def test_the_dataset_keeps_both_views_and_the_final_word(programme: Any) -> None:
    programme.process.terminate()
    assert programme.process.wait(90) == 0
    dataset = Dataset.open(programme.folder)
    rows = [row for row in dataset.judgements() if row.dimension == "VQ"]
    liked = {(row.prompt_id, row.role, row.clip_a if row.label == "A" else row.clip_b) for row in rows}
    assert liked == {
        (f"p{k}", role, f"{clip}{k}")
        for k in range(2)
        for role, clip in (("rater", "long"), ("rater", "short"), ("adjudicator", "long"))
    }
