"""A rater at work with the keyboard alone: ten pairs, and nothing lost by a reload, a restart or a broken line."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from videoalign.contracts.records import Judgement
from videoalign.data.dataset import Dataset

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

CHOSEN = "[...document.querySelectorAll('.verdict:checked')].map(i => i.value)"
TIMES = "[...document.querySelectorAll('.frame video')].map(v => v.currentTime)"


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    return open_programme(grey_dataset, "min_watch=0.1", "ratings=true", "raters_per_pair=20")


@pytest.fixture
def page(programme: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = programme.rater(request.node.name)
    yield opened
    opened.close()


def count(page: Any) -> str:
    """How many pairs the page says are judged."""
    return page.inner_text("#count").partition(" ")[0]


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def submit(page: Any, *verdicts: str) -> None:
    """Gives the verdicts, waits until both clips were watched, submits, and waits for what comes next."""
    before = count(page)
    press(page, *verdicts)
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit", what=page.inner_text("#ready"))
    page.keyboard.press("Enter")
    wait_until(lambda: count(page) != before, what=page.inner_text("#alert-text"))


def judgements(programme: Any) -> list[Judgement]:
    """What the dataset's table holds once the server has stopped."""
    programme.process.terminate()
    assert programme.process.wait(90) == 0
    return Dataset.open(programme.folder).judgements()


def test_ten_real_pairs_by_keyboard_alone(open_programme: Callable[..., Any], real_dataset: Path) -> None:
    programme = open_programme(real_dataset, "raters_per_pair=1", "min_watch=0.25")
    page = programme.rater()
    press(page, "]", "]")
    shown = []
    for number in range(10):
        assert count(page) == str(number)
        wait_until(lambda: all(time > 0 for time in page.evaluate(TIMES)), what="for both clips to move")
        shown.append((page.inner_text("#prompt"), page.locator(".frame.left video").get_attribute("data-url")))
        submit(page, "1", "2", "4")
    wait_until(lambda: page.locator("#panel").is_visible())
    assert page.inner_text("#panel-title") == "All done"
    assert page.locator("#panel-undo").is_visible()
    assert page.complaints == []
    page.close()
    rows = judgements(programme)
    assert len({(row.clip_a, row.clip_b) for row in rows}) == len({prompt for prompt, _ in shown}) == 10
    verdicts = {name: [row for row in rows if row.dimension == name] for name in ("VQ", "MQ", "TA")}
    assert all(row.label == row.left for row in verdicts["VQ"])
    assert {row.left for row in verdicts["VQ"]} == {"A", "B"}
    assert [row.label for row in verdicts["MQ"]] == ["tie"] * 10
    assert [row.label for row in verdicts["TA"]] == ["both_bad"] * 10


def test_what_is_missing_is_said_and_nothing_is_sent(page: Any) -> None:
    page.evaluate("document.querySelectorAll('video').forEach(v => v.pause())")
    press(page, "1", "Enter")
    wait_until(lambda: page.inner_text("#ready").startswith("No verdict yet: Motion quality, Text alignment"))
    wait_until(lambda: "No verdict yet" in page.inner_text("#status"))
    assert count(page) == "0"
    assert page.locator(".dimension.current .title").inner_text() == "Motion quality"


def test_a_pair_that_was_not_watched_is_not_submitted(programme: Any) -> None:
    page = programme.rater("Hasty", reduced_motion="reduce")
    press(page, "1", "1", "1", "Enter")
    assert page.inner_text("#ready") == "Watch both clips for 0.2 s more"
    assert count(page) == "0"
    page.keyboard.press("Space")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: count(page) == "1")
    page.close()


def test_a_reload_keeps_what_was_chosen_and_the_pair(page: Any) -> None:
    press(page, "a", "x", "n", "c")
    page.keyboard.type("the left one is steadier")
    page.keyboard.press("Escape")
    prompt = page.inner_text("#prompt")
    page.reload()
    wait_until(lambda: page.locator("#pair").is_visible())
    wait_until(lambda: page.inner_text("#prompt") == prompt)
    wait_until(lambda: page.evaluate(CHOSEN) == ["left", "both_bad"])
    wait_until(lambda: page.input_value("#comment") == "the left one is steadier")
    wait_until(lambda: page.locator(".dimension.current .title").inner_text() == "Text alignment")


def test_a_killed_server_loses_nothing_and_the_judgement_is_sent_when_it_is_back(programme: Any, page: Any) -> None:
    submit(page, "1", "1", "1")
    with page.expect_response("**/api/heartbeat"):  # what was chosen is with the server too
        press(page, "3", "2")
    programme.kill()
    press(page, "1")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: "kept on this computer" in page.inner_text("#alert-text"))
    assert page.locator("#alert").get_attribute("role") == "alert"
    programme.start()
    page.reload()
    wait_until(lambda: count(page) == "2", what=page.inner_text("#alert-text"))
    wait_until(lambda: page.locator("#alert").is_hidden())


def test_without_a_reload_it_is_sent_again_by_itself(page: Any) -> None:
    page.route("**/api/judgements", lambda route: route.abort())
    press(page, "1", "2", "3")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.keyboard.press("Enter")
    wait_until(lambda: page.locator("#alert").is_visible())
    wait_until(lambda: re.search(r"sent again in \d+ s", page.inner_text("#alert-text")))
    assert page.evaluate(CHOSEN) == ["left", "tie", "right"]
    page.unroute("**/api/judgements")
    wait_until(lambda: count(page) == "1")
    wait_until(lambda: page.locator("#alert").is_hidden())


def test_a_judgement_that_arrived_but_was_never_answered_counts_once(page: Any) -> None:
    def lose_the_answer(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/judgements", lose_the_answer, times=1)
    submit(page, "1", "2", "3")
    assert count(page) == "1"


def test_a_judgement_made_signed_out_is_taken_once_its_rater_is_back(programme: Any, page: Any) -> None:
    press(page, "1", "2", "3")
    wait_until(lambda: page.inner_text("#ready") == "Ready to submit")
    page.context.clear_cookies()
    page.keyboard.press("Enter")
    wait_until(lambda: "You are signed out" in page.inner_text("#alert-text"))
    programme.admin.goto(f"{programme.url}/admin/raters")
    mine = programme.admin.get_by_role("row").filter(has_text="test_a_judgement_made_signed_out")
    mine.get_by_role("button", name="New link").press("Enter")
    page.goto(programme.admin.get_by_label("Link for").input_value())
    page.get_by_role("button", name="Come in").press("Enter")
    wait_until(lambda: count(page) == "1")


def test_whoever_is_signed_out_is_told_so_before_they_submit(page: Any) -> None:
    page.context.clear_cookies()
    press(page, "1")
    wait_until(lambda: "You are signed out" in page.inner_text("#alert-text"))


def test_a_pair_that_went_to_somebody_else_is_told_and_the_next_one_is_one_key_away(page: Any) -> None:
    gone = {"error": {"code": "expired", "reason": "this pair waited too long and went to somebody else."}}
    page.route("**/api/heartbeat", lambda route: route.fulfill(status=410, json=gone))
    press(page, "1")
    wait_until(lambda: page.locator("#alert").is_visible())
    assert page.inner_text("#alert-text") == (
        "This pair is no longer yours. This pair waited too long and went to somebody else."
    )
    page.get_by_role("button", name="Next pair").press("Enter")
    wait_until(lambda: page.locator("#alert").is_hidden())


def test_undo_gives_the_pair_back_with_its_verdicts_and_a_new_verdict_replaces_them(page: Any) -> None:
    prompt = page.inner_text("#prompt")
    submit(page, "1", "2", "4")
    wait_until(lambda: page.inner_text("#prompt") != prompt)
    press(page, "u")
    wait_until(lambda: page.inner_text("#prompt") == prompt)
    wait_until(lambda: page.evaluate(CHOSEN) == ["left", "tie", "both_bad"])
    wait_until(lambda: count(page) == "0")
    press(page, "ArrowUp", "ArrowDown", "Backspace")
    assert page.evaluate(CHOSEN) == ["tie", "both_bad"]
    submit(page, "3")
    assert count(page) == "1"
    press(page, "u")
    wait_until(lambda: page.evaluate(CHOSEN) == ["right", "tie", "both_bad"])


def test_skip_asks_why_and_goes_on(page: Any) -> None:
    prompt = page.inner_text("#prompt")
    press(page, "s", "ArrowDown", "Tab")
    page.keyboard.type("both are black")
    with page.expect_request("**/api/skip") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["reason"] == "Both clips are the same: both are black"
    wait_until(lambda: page.inner_text("#prompt") != prompt)
    press(page, "s", "Escape")
    wait_until(lambda: not page.locator("dialog[open]").count())
    page.evaluate("fetch('/health')")  # what the page had sent before would have been seen
    assert sum(url.endswith("/api/skip") for url in page.asked) == 1
    assert count(page) == "0"


def test_the_next_pair_is_there_before_it_is_asked_for(page: Any) -> None:
    wait_until(lambda: page.evaluate(TIMES) and len({url for url in page.asked if "/media/" in url}) == 4)
    here = page.locator(".frame.left video").get_attribute("data-url")
    loaded = [url for url in page.asked if "/media/" in url]
    submit(page, "1", "1", "1")
    shown = page.locator(".frame.left video")
    after = wait_until(lambda: (now := shown.get_attribute("data-url")) != here and now)
    assert any(url.endswith(after) for url in loaded)
    wait_until(lambda: all(time > 0 for time in page.evaluate(TIMES)))
    assert [url for url in page.asked if "/media/" in url] == loaded, "nothing is loaded again"


def test_a_clip_that_cannot_be_played_is_told_and_can_be_tried_again(page: Any) -> None:
    page.route("**/media/**/right", lambda route: route.abort())
    page.reload()
    wait_until(lambda: page.locator(".frame.right .broken").is_visible())
    wait_until(lambda: "Clip B cannot be played" in page.inner_text("#alert-text"))
    page.unroute("**/media/**/right")
    page.locator(".frame.right .reload").click()
    wait_until(lambda: all(time > 0 for time in page.evaluate(TIMES)))
    wait_until(lambda: page.locator("#alert").is_hidden())


def test_choices_made_with_the_mouse_leave_the_keys_free(page: Any) -> None:
    page.locator(".dimension").first.locator(".choice.right").click()
    wait_until(lambda: page.locator("#play.playing").count() == 1)
    press(page, "Space", "ArrowLeft")
    assert page.evaluate("document.activeElement === document.body")
    wait_until(lambda: page.locator("#play:not(.playing)").count())
    assert page.evaluate(CHOSEN) == ["right"]


def test_the_choices_are_true_radio_groups_that_tab_and_arrows_reach(page: Any) -> None:
    page.locator(".verdict").first.focus()
    press(page, "Space", "ArrowRight")
    assert page.evaluate(CHOSEN) == ["tie"]
    group = page.get_by_role("group", name="Visual quality")
    assert group.get_by_role("radio", name="Tie").is_checked()
    assert group.get_by_role("radio").count() == 4


def test_keys_may_be_switched_off(page: Any) -> None:
    press(page, "?")
    page.get_by_label("Obey these keys").uncheck()
    press(page, "Escape", "1")
    assert page.evaluate(CHOSEN) == []
    page.keyboard.press("Control+Enter")
    wait_until(lambda: "No verdict yet" in page.inner_text("#status"))
