"""``videoalign annotate agreement`` and ``leaderboard`` on real ratings of real clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fetv(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FETV as the example imports it: 20 prompts, 4 generators, 3 raters."""
    out = tmp_path_factory.mktemp("fetv") / "d"
    source, settings = shared / "data" / "fetv" / "ratings.csv", REPOSITORY / "examples" / "fetv.yaml"
    assert main(["data", "import", "ratings", str(source), "--out", str(out), "--config", str(settings)]) == 0
    return out


def test_agreement_for_machines_and_people(fetv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "agreement", str(fetv), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["dimensions", "ratings", "raters", "guidelines"]
    page = (REPOSITORY / "examples" / "real_preferences.md").read_text(encoding="utf-8")
    for row in found["dimensions"].values():
        assert (row["pairs"], row["raters"], row["votes"], row["fleiss_pairs"]) == (120, 3, 360, 120)
        for name in ("alpha_nominal", "alpha_ordinal"):
            assert row[name]["low"] < row[name]["value"] < row[name]["high"]
            assert "{value:.2f} [{low:.2f}, {high:.2f}]".format(**row[name]) in page
        assert row["fleiss_kappa"] == pytest.approx(row["alpha_nominal"]["value"], abs=0.01)  # they differ by 1 / n
        assert row["raw"]["with_ties"] < row["raw"]["without_ties"]
    assert [row["rater"] for row in found["raters"]] == ["0", "1", "2"]
    assert found["raters"][0]["num_gold"] == 0 and found["raters"][0]["gold"]["value"] is None
    assert main(["annotate", "agreement", str(fetv), "--cluster", "pair"]) == 0
    shown = capsys.readouterr().out
    for row in found["dimensions"].values():
        assert f"{row['alpha_ordinal']['value']:.2f} [" in shown
    assert "Dawid-Skene" in shown and "gold" not in shown


def test_what_is_known_of_raters_is_shown(fetv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Dataset.open(fetv)
    some = Dataset.create(tmp_path / "d", data.info)
    rows = [replace(row, left="A", seconds=12.0) for row in data.judgements()]
    gold = [replace(rows[0], rater="key", role="gold", left="", seconds=-1.0)]
    some.add(prompts=data.prompts(), clips=data.clips(), judgements=[*rows, *gold])
    assert main(["annotate", "agreement", str(tmp_path / "d")]) == 0
    shown = capsys.readouterr().out
    assert "gold" in shown and "1.00 of 1" in shown
    assert "p of left" in shown and "12.00" in shown
    assert "on clips" not in shown


def test_leaderboard_for_machines_and_people(fetv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "leaderboard", str(fetv), "--json"]) == 0
    boards = json.loads(capsys.readouterr().out)
    assert list(boards) == ["VQ", "MQ", "TA", "overall"]
    for board in boards.values():
        assert (board["pairs"], board["prompts"], board["connected"], len(board["models"])) == (120, 20, True, 4)
        assert sum(row["wins"] for row in board["models"]) == pytest.approx(
            sum(row["losses"] for row in board["models"])
        )
    assert boards["MQ"]["models"][-1]["model"] == "text2video-zero"
    assert main(["annotate", "leaderboard", str(fetv), "--aggregate", "dawid_skene"]) == 0
    assert "MQ: 120 pairs, 20 prompts" in capsys.readouterr().out


def test_nothing_judged_or_no_known_model_is_one_line(
    fetv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Dataset.open(fetv)
    bare = Dataset.create(tmp_path / "bare", data.info)
    for command in ("agreement", "leaderboard"):
        assert main(["annotate", command, str(tmp_path / "bare")]) == 2
    clips = [replace(clip, generator="") for clip in data.clips()]
    bare.add(prompts=data.prompts(), clips=clips, judgements=data.judgements())
    assert main(["annotate", "leaderboard", str(tmp_path / "bare")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "nobody judged anything yet" in lines[0]
    assert "no judged pair by two known generators" in lines[1] and lines[1] == lines[2]


def test_models_that_were_never_compared_are_named(
    fetv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Dataset.open(fetv)
    halves = {"cogvideo": 0, "videofusion": 0, "zeroscope": 1, "text2video-zero": 1}
    half = {clip.clip_id: halves[clip.generator] for clip in data.clips()}
    split = Dataset.create(tmp_path / "d", data.info)
    kept = [row for row in data.judgements() if half[row.clip_a] == half[row.clip_b]]
    split.add(prompts=data.prompts(), clips=data.clips(), judgements=kept)
    assert main(["annotate", "leaderboard", str(tmp_path / "d")]) == 0
    shown = capsys.readouterr().out
    assert "never compared with each other" in shown and " | " in shown
