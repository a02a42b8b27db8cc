"""What admins read: ranks within a group alone, everything that was said of a pair, and whose link it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.web.annotate.storage.tables import Assignment, Pair

Open = Callable[..., Any]
Make = Callable[..., Path]


def text(page: str) -> str:
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def likes(programme: Any, wanted: set[str]) -> Callable[[dict[str, Any], str], str]:
    """A verdict for the clip of a generator of ``wanted``."""

    def verdict(assignment: dict[str, Any], _: str) -> str:
        with programme.running.database.read() as session:
            given = session.get(Assignment, assignment["id"])
            pair = session.get(Pair, given.pair_id)
            left = pair.clip_b if given.swapped else pair.clip_a
        return "left" if programme.running.library.clips[left].generator in wanted else "right"

    return verdict


def test_the_leaderboard_ranks_each_group_by_itself_and_says_that_groups_were_never_compared(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    table = tmp_path / "pairs.csv"
    rows = [f"c{p:03}-{a},c{p:03}-{b}" for p, (a, b) in itertools.product(range(4), ((0, 1), (2, 3)))]
    table.write_text("\n".join(["clip_a,clip_b", *rows]), encoding="utf-8")
    programme = open_programme(make_dataset(4, 4), pairs=table, raters_per_pair=1)
    programme.invite().judge_all(likes(programme, {"g1", "g2"}))
    board = programme.admin.http.get("/api/admin/leaderboard").json()["overall"]
    assert [(row["group"], row["rank"], row["model"]) for row in board["models"]] == [
        (0, 1, "g1"), (0, 2, "g0"), (1, 1, "g2"), (1, 2, "g3"),
    ]  # fmt: skip
    page = text(programme.admin.http.get("/admin/leaderboard").text)
    assert page.count("These 2 groups were never compared with each other") == 4
    assert page.count("Group 1 of 2 1 g1") == page.count("Group 2 of 2 1 g2") == 4


@pytest.mark.databases("sqlite")
def test_the_page_of_a_pair_shows_both_clips_and_all_that_was_said_to_admins_alone(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1, files=True), raters_per_pair=2)
    rater, other = programme.invite(name="Mina"), programme.invite(name="Jo")
    rater.judge("left", comment="sharper")
    rater.http.post("/api/undo")
    rater.judge("both_bad")
    other.http.post("/api/skip", json={"assignment": other.next()["assignment"]["id"], "reason": "too dark"})
    admin = programme.admin.http
    page = text(admin.get("/admin/pairs/1").text)
    assert "sharper" in page and "taken back" in page and "both bad" in page and "too dark" in page
    assert page.count("Mina") == 2 and page.count("Jo ") == 1
    files = [(programme.running.library.dataset.path / f"clips/c000-{k}.mp4").read_bytes() for k in (0, 1)]
    assert [admin.get(f"/media/pairs/1/{side}").content for side in "ab"] == files
    assert [rater.http.get(f"/media/pairs/1/{side}").status_code for side in "ab"] == [403, 403]
    for path in ("/admin/pairs/2", "/admin/pairs/0", "/admin/pairs/99999999999999999999", "/media/pairs/2/a"):
        assert admin.get(path).status_code == 404, path


@pytest.mark.databases("sqlite")
def test_a_new_link_says_whose_it_is_and_adjudicators_are_not_measured(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=2)
    for verdict in ("left", "tie"):
        programme.invite().judge_all(verdict)
    programme.invite("adjudicator", "Dee").judge("tie")
    admin = programme.admin.http
    assert "decides, and is not measured" in admin.get("/admin/raters").text
    assert "nothing judged yet" not in admin.get("/admin/raters").text
    made = admin.post("/admin/raters/4/link", data={"csrf_token": admin.headers["x-csrf-token"]})
    assert "Link for Dee : it works once, within 72 hours" in text(made.text)
    assert re.search(r"adjudicated</span>", admin.get("/admin/pairs").text)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("path", "way_back"), [("/nothing", 1), ("/join/" + "x" * 43, 0)])
def test_a_page_that_refuses_leads_back_only_where_there_is_a_way(
    open_programme: Open, make_dataset: Make, path: str, way_back: int
) -> None:
    page = open_programme(make_dataset(1)).admin.http.get(path)
    assert page.status_code == 404
    assert page.text.count("Back to the start") == way_back


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("hours", "words"), [(720.0, "30 days"), (1.0, "1 hour"), (60.0, "2.5 days"), (36.0, "36 hours")]
)
def test_a_link_says_how_long_one_stays_signed_in(
    open_programme: Open, make_dataset: Make, hours: float, words: str
) -> None:
    programme = open_programme(make_dataset(1), session_hours=hours)
    page = programme.client().get(programme.link().removeprefix("http://rate.test")).text
    assert f"You stay signed in here for {words}, or until you sign out." in page
