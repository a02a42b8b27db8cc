"""A verdict is taken once both clips can have been watched, by the page's count and by the server's own clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import videoalign.web
from videoalign.web.annotate.programme import watching
from videoalign.web.annotate.storage.tables import Assignment

Open = Callable[..., Any]
Make = Callable[..., Path]
LENGTH = 5 / 8
"""Seconds of each clip."""


def send(rater: Any, assignment: dict[str, Any], left: float = LENGTH, right: float = LENGTH) -> tuple[int, str]:
    body = rater.body(assignment, watched_seconds={"left": left, "right": right})
    answer = rater.http.post("/api/judgements", json=body)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def load(rater: Any, assignment: dict[str, Any], *sides: str) -> None:
    for side in sides or ("left", "right"):
        assert rater.http.get(assignment[side]["url"]).status_code == 200


@pytest.mark.databases("sqlite")
def test_no_verdict_is_taken_sooner_than_both_clips_can_have_been_watched(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    rater = open_programme(make_dataset(2, files=True), min_watch=1.0).invite()
    shown = rater.next()["assignment"]
    assert shown["left"]["watch_seconds"] == shown["right"]["watch_seconds"] == pytest.approx(LENGTH)
    assert shown["seconds_to_wait"] == pytest.approx((LENGTH - 0.1) / 2)
    load(rater, shown)
    for passed in (0.0, 0.12, 0.1):
        clock.time += passed
        assert send(rater, shown) == (422, "not_watched")
    clock.time += 0.1
    assert rater.next()["assignment"]["seconds_to_wait"] == 0
    assert send(rater, shown, left=LENGTH - 0.2) == (422, "not_watched"), "the page's own count is asked for as well"
    assert send(rater, shown) == (200, "")


@pytest.mark.databases("sqlite")
def test_both_clips_must_have_been_sent_to_the_rater(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(2, files=True), min_watch=1.0)
    rater, other = programme.invite(), programme.invite()
    shown = rater.next()["assignment"]
    clock.time += 60
    assert send(rater, shown) == (422, "not_watched")
    assert other.http.get(shown["left"]["url"]).status_code == 404
    assert programme.admin.http.get(shown["left"]["url"]).status_code == 200
    load(rater, shown, "left")
    load(rater, shown, "left")
    assert send(rater, shown) == (422, "not_watched")
    load(rater, shown, "right")
    assert send(rater, shown) == (200, "")


def test_a_pair_that_was_only_loaded_ahead_cannot_be_judged(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    rater = open_programme(make_dataset(2, files=True), min_watch=1.0).invite()
    first = rater.next()
    ahead = {side: {"url": url} for side, url in first["upcoming"].items()}
    load(rater, ahead)
    clock.time += 60
    identity = first["upcoming"]["left"].split("/")[-2]
    assert send(rater, first["assignment"] | {"id": identity}) == (422, "not_watched")


def test_what_was_sent_is_known_after_a_restart_and_when_the_pair_comes_again(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    folder = make_dataset(1, files=True)
    programme = open_programme(folder, min_watch=1.0, lease_seconds=60)
    rater = programme.invite()
    shown = rater.next()["assignment"]
    load(rater, shown)
    clock.time += 100
    again = open_programme(folder, min_watch=1.0, lease_seconds=60)
    client = again.client()
    client.cookies, client.headers = rater.http.cookies, rater.http.headers
    back = client.get("/api/next").json()["assignment"]
    assert (back["id"], back["seconds_to_wait"] > 0) == (shown["id"], True)
    rater.http = client
    assert send(rater, back) == (422, "not_watched")
    clock.time += 1
    assert send(rater, back) == (200, "")


@pytest.mark.databases("sqlite")
def test_a_part_of_each_clip_is_asked_for_by_its_own_length(
    open_programme: Open, make_dataset: Make, make_clip: Callable[..., Path], clock: Any
) -> None:
    from dataclasses import replace

    from videoalign.data.dataset import Dataset

    folder = make_dataset(1)
    dataset = Dataset.open(folder)
    one, other = dataset.clips()
    make_clip(folder / one.path, num_frames=80)
    make_clip(folder / other.path, num_frames=16)
    dataset.write_clips([replace(one, num_frames=80), replace(other, num_frames=16)])
    programme = open_programme(folder, min_watch=0.5)
    rater = programme.invite()
    shown = rater.next()["assignment"]
    needed = {side: shown[side]["watch_seconds"] for side in ("left", "right")}
    assert sorted(needed.values()) == pytest.approx([1, 5])
    assert shown["seconds_to_wait"] == pytest.approx(2.45)
    load(rater, shown)
    clock.time += 3
    for side in needed:
        assert send(rater, shown, **(needed | {side: needed[side] - 0.11})) == (422, "not_watched")
    assert send(rater, shown, **needed) == (200, "")


@pytest.mark.databases("sqlite")
def test_a_clock_that_is_set_back_does_not_shut_a_rater_out(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    rater = open_programme(make_dataset(2, files=True), min_watch=1.0).invite()
    shown = rater.next()["assignment"]
    load(rater, shown)
    clock.time -= 7200
    assert rater.next()["assignment"]["seconds_to_wait"] == 0
    assert send(rater, shown) == (200, "")


@pytest.mark.databases("sqlite")
def test_nothing_is_asked_or_written_where_the_settings_ask_for_nothing(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1, files=True), min_watch=0.0)
    rater = programme.invite()
    shown = rater.next()["assignment"]
    load(rater, shown)
    with programme.running.database.read() as session:
        assert session.get(Assignment, shown["id"]).served == 0
    assert send(rater, shown, 0.0, 0.0) == (200, "")


def test_the_page_offers_no_speed_above_the_one_that_the_clock_reckons_with() -> None:
    template = Path(videoalign.web.__file__).parent / "templates" / "players.jinja"
    line = next(line for line in template.read_text(encoding="utf-8").splitlines() if '"0.25"' in line)
    rates = [float(part) for part in line.split("(")[1].split(")")[0].replace('"', "").split(",")]
    assert max(rates) == watching.HIGHEST_SPEED
