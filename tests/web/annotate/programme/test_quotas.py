"""Nobody judges more than the settings allow, and is told so in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.errors import ConfigError, DataError
from videoalign.web.annotate.settings import Example

Open = Callable[..., Any]
Make = Callable[..., Path]


def test_a_rater_judges_at_most_so_many_pairs(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(9), max_judgements_per_rater=3, raters_per_pair=1)
    rater = programme.invite()
    assert rater.next()["progress"] == {"done": 0, "total": 3}
    assert rater.judge_all() == 3
    end = rater.next()
    assert (end["state"], end["progress"]) == ("done", {"done": 3, "total": 3})
    assert end["message"] == "You have judged as many pairs as one person may here. Thank you very much!"
    assert rater.http.post("/api/undo").json()["next"]["assignment"] is not None
    rater.judge()
    assert rater.next()["state"] == "done"
    assert programme.invite().judge_all() == 3


def test_gold_and_repeats_count_and_a_qualification_does_not(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\n" + "".join(f"c{p:03}-0,c{p:03}-1,tie\n" for p in range(8)), encoding="utf-8")
    programme = open_programme(
        make_dataset(30), gold=gold, gold_share=0.4, qualification_pairs=2, max_judgements_per_rater=6
    )
    assert programme.invite().judge_all() == 2 + 6


def test_a_day_ends_at_midnight(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    clock.time = 20_000 * 86400.0 + 86000
    programme = open_programme(make_dataset(9), max_judgements_per_day=2, max_judgements_per_rater=5)
    rater = programme.invite()
    for judged in (2, 2, 1):
        assert rater.judge_all() == judged
        message = rater.next()["message"]
        clock.time += 300
        assert rater.next()["state"] == "done"
        clock.time += 86100
    assert "a day" not in message


def test_the_programme_stops_after_so_many_verdicts_of_all(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(9), max_judgements=5, raters_per_pair=3, lease_seconds=60)
    raters = [programme.invite() for _ in range(3)]
    for rater in raters:
        assert rater.next()["assignment"] is not None
    assert raters[2].next()["progress"] == {"done": 0, "total": 1}
    assert raters[2].judge_all() == 1
    assert raters[2].next()["message"].startswith("Others are at the last pairs.")
    assert [rater.judge_all() for rater in raters] == [2, 2, 0]
    assert raters[2].next()["message"] == "This programme has all the judgements that it wants. Thank you for yours!"


def test_a_pair_that_ran_out_is_no_way_round_the_limit(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(60), max_judgements_per_rater=2, raters_per_pair=3, lease_seconds=60)
    rater = programme.invite()
    late = rater.next()["assignment"]
    clock.time += 61
    judged = []
    while (shown := rater.next()["assignment"]) is not None:
        judged.append(shown["id"])
        rater.judge()
    assert len(judged) == 2 and late["id"] not in judged
    answer = rater.http.post("/api/judgements", json=rater.body(late))
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "expired")


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (
            Example(dimension="VX", clip_id="c000-0", text="t"),
            "examples.0.dimension: no dimension 'VX' is judged. Known: MQ, TA, VQ.",
        ),
        (Example(dimension="VQ", clip_id="nope", text="t"), "examples.0.clip_id: clip 'nope' is not in"),
    ],
)
def test_an_example_of_something_unknown_is_refused_at_the_start(
    open_programme: Open, make_dataset: Make, example: Example, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        open_programme(make_dataset(1), examples=(example,))


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(("names", "got"), [(("g0", "g0"), "got g0"), (("", ""), "got no name of any")])
def test_pairs_across_generators_say_how_many_there_are(
    open_programme: Open, make_dataset: Make, names: tuple[str, str], got: str
) -> None:
    from dataclasses import replace

    from videoalign.data.dataset import Dataset

    folder = make_dataset(2)
    dataset = Dataset.open(folder)
    clips = zip(dataset.clips(), names * 2, strict=True)
    dataset.write_clips([replace(clip, generator=name) for clip, name in clips])
    with pytest.raises(DataError, match=f"pairs=across wants clips of two generators or more and {got}"):
        open_programme(folder, pairs="across")
