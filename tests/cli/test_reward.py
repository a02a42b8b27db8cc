from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import DEFAULT_DIMENSIONS, Clip, DatasetInfo, Judgement, Prompt
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.hub import model_card
from videoalign.models.videoreward.settings import Ties
from videoalign.recipes.reward.agreement import eval_reward, eval_scores
from videoalign.recipes.reward.settings import RewardTrainConfig
from videoalign.recipes.score import score_dataset
from videoalign.video.files import write_video

SMALL = ["fit.num_steps=2", "fit.batch_size=2", "limits={fps: 2, min_frame_pixels: 1024, max_frame_pixels: 1024}"]
PROMPTS = {"p0": ("a red circle", "train"), "p1": ("a blue cross", "train"), "q": ("a green square", "val")}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of each of three prompts, noise against grey, judged by two raters."""
    folder = tmp_path_factory.mktemp("data") / "d"
    made = Dataset.create(folder, DatasetInfo())
    rng = np.random.default_rng(0)
    clips, judgements = [], []
    for prompt_id in PROMPTS:
        for side, level in (("a", 0), ("b", 255)):
            frames = rng.integers(0, level + 1, (8, 32, 32, 3), dtype=np.int64).astype(np.uint8)
            write_video(folder / "clips" / f"{prompt_id}{side}.mp4", Video(frames, 8.0))
            clip_id, path = f"{prompt_id}{side}", f"clips/{prompt_id}{side}.mp4"
            clips.append(
                Clip(clip_id=clip_id, prompt_id=prompt_id, path=path, fps=8.0, num_frames=8, height=32, width=32)
            )
        judgements += [
            Judgement(
                prompt_id=prompt_id,
                clip_a=f"{prompt_id}a",
                clip_b=f"{prompt_id}b",
                rater=rater,
                dimension=dimension.name,
                label="A",
            )
            for rater in ("r", "s")
            for dimension in DEFAULT_DIMENSIONS
        ]
    prompts = [Prompt(prompt_id=name, text=text, split=split) for name, (text, split) in PROMPTS.items()]
    made.add(prompts=prompts, clips=clips, judgements=judgements)
    return folder


@pytest.fixture(scope="module")
def trained(tiny_base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("r") / "mine"
    assert main(["reward", "train", str(dataset), "--model", str(tiny_base), "--out", str(out), *SMALL]) == 0
    return out


def test_eval_prints_every_figure(trained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reward", "eval", str(trained), str(dataset), "--split", "all", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == ["VQ", "MQ", "TA"]
    wanted = {
        "with_ties",
        "without_ties",
        "n",
        "tie_share",
        "random",
        "always_tie",
        "generator_identity",
        "low",
        "high",
    }
    assert all(wanted <= set(row) for row in figures.values())
    assert figures["VQ"]["n"] == 3
    assert figures["VQ"]["rater_agreement"] == 1.0
    assert figures["VQ"]["always_tie"] == 0.0
    assert main(["reward", "eval", str(trained), str(dataset)]) == 0
    assert "VQ" in capsys.readouterr().out


def resplit(dataset: Path, folder: Path, splits: dict[str, str]) -> Path:
    """A copy of the dataset whose prompts are in these splits."""
    shutil.copytree(dataset, folder)
    copy = Dataset.open(folder)
    copy.write_prompts([replace(prompt, split=splits[prompt.prompt_id]) for prompt in copy.prompts()])
    return folder


def report(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, bool | None, str]:
    """Split, whether it is held out, and the note, which are the same in every row and stand in what people read."""
    assert main([*words, "--json"]) == 0
    (told,) = {(row["split"], row["held_out"], row["note"]) for row in json.loads(capsys.readouterr().out).values()}
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert told[2] in shown and f"({told[0]})" in shown
    return told


def test_figures_are_of_the_test_split_and_say_what_was_chosen_and_normalised_on_it(
    trained: Path, tiny_base: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reward", "eval", str(trained)]
    split, held_out, note = report([*words, str(dataset)], capsys)
    assert (split, held_out) == ("val", True)
    assert "neither trained nor chosen on any of these 1 prompts (split val)" in note
    assert "normalised on 1 of them" in note
    seen = resplit(dataset, tmp_path / "seen", {"p0": "train", "p1": "test", "q": "val"})
    split, held_out, note = report([*words, str(seen)], capsys)
    assert (split, held_out) == ("test", False)
    assert "was trained on 1 of these 1 prompts (split test)" in note
    assert report([*words, str(dataset), "--against", str(trained)], capsys)[:2] == ("val", True)
    assert main([*words, str(dataset), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    told = {"split": "val", "prompts": 1, "trained": 0, "selected": 0, "normalised": 1, "complete": True}
    assert result["held_out"] == {"reward": "mine", **told}
    assert "neither trained nor chosen" in (tmp_path / "out" / "result.md").read_text(encoding="utf-8")


def test_weights_that_were_chosen_on_val_are_not_passed_off_as_held_out(
    tiny_base: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, best = str(tmp_path / "best"), ["keep=best", "fit.validate_every_steps=1"]
    assert main(["reward", "train", str(dataset), "--model", str(tiny_base), "--out", out, *SMALL, *best]) == 0
    assert "chosen on the pairs of val, so figures on val are not held out" in capsys.readouterr().out
    split, held_out, note = report(["reward", "eval", out, str(dataset)], capsys)
    assert (split, held_out) == ("val", False)
    assert "were chosen on 1 of these 1 prompts (split val), with keep=best" in note
    reward = VideoReward.from_pretrained(out)
    card = model_card("me/best", "Qwen2-VL", reward.settings)
    assert "The weights were chosen on 1 others, so accuracies on those are not held out" in card
    other = resplit(dataset, tmp_path / "other", {"p0": "test", "p1": "train", "q": "val"})
    more = str(tmp_path / "more")  # goes on from it: what the first one saw is not held out for the second either
    assert main(["reward", "train", str(other), "--model", out, "--out", more, SMALL[0], SMALL[1]]) == 0
    capsys.readouterr()
    assert report(["reward", "eval", more, str(other)], capsys)[:2] == ("test", False)
    assert report(["reward", "eval", more, str(other), "--split", "val"], capsys)[:2] == ("val", False)
    reward.settings = reward.settings.model_copy(update={"used_prompts": None})
    assert "not recorded" in model_card("me/best", "Qwen2-VL", reward.settings)
    reward.save_pretrained(tmp_path / "older")
    split, held_out, note = report(["reward", "eval", str(tmp_path / "older"), str(dataset)], capsys)
    assert held_out is None and "is not recorded" in note


def test_score_of_files_and_of_the_dataset_agree(
    trained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reward", "score", str(trained), "--dataset", str(dataset), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [set(row) for row in rows] == [{"video", "prompt", "scores", "raw"}] * 6
    stored = Dataset.open(dataset).scores("mine")
    assert [row["normalised"] for row in stored] == [row["scores"] for row in rows]
    one = next(row for row in rows if row["video"].endswith("p1b.mp4"))
    file = str(dataset / "clips" / "p1b.mp4")
    assert main(["reward", "score", str(trained), "--video", file, "--prompt", "a blue cross", "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)
    assert alone["video"] == file
    assert alone["scores"] == pytest.approx(one["scores"], abs=1e-4)
    assert alone["raw"] == pytest.approx(one["raw"], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reward", "score", "R", "--video", "F", "--prompt", "a <|VQ_reward|>"], "holds the special token"),
        (["reward", "score", "R", "--video", "absent.mp4", "--prompt", "a"], "absent.mp4: no such file"),
        (["reward", "score", "R", "--video", "S", "--prompt", "a"], "short.mp4: it has 1 frame(s), a reward needs"),
        (["reward", "score", "R", "--video", "F"], "--prompt: missing"),
        (["reward", "score", "R"], "give one of --dataset"),
        (["reward", "score", "D", "--video", "F", "--prompt", "a"], "no reward here"),
        (["reward", "eval", "R", "D", "--split", "dev"], "wanted test, val, train or all"),
        (["reward", "eval", "R", "absent"], "no dataset here"),
        (["reward", "eval", "R", "D", "--format", "rewardbench"], "is a dataset already"),
        (["reward", "eval", "R", "t.csv", "--format", "rewardbensh"], "Did you mean 'rewardbench'"),
        (["reward", "eval", "R", "t.csv", "check_stated=false"], "say with --format"),
        (["reward", "eval", "R", "t.csv", "--format", "rewardbench", "check_stat=1"], "Did you mean 'check_stated'"),
        (["reward", "train", "D", "--model", "absent", "--out", "O"], "cannot load a Qwen2-VL"),
        (["reward", "train", "D", "--model", "B", "--out", "O", "fit.num_step=3"], "Did you mean 'num_steps'"),
        (["reward", "train", "D", "--model", "B", "--out", "O", "rates.head_=1"], "Did you mean 'head'"),
        (["reward", "train", "D", "--model", "B", "--out", "O", "loss=regression"], "wants ratings"),
        (["reward", "train", "D", "--model", "B", "--out", "R", *SMALL, "fit.seed=3"], "belongs to another run"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str],
    says: str,
    trained: Path,
    dataset: Path,
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"R": trained, "D": dataset, "B": tiny_base, "O": tmp_path / "o", "F": dataset / "clips" / "qa.mp4"}
    places["S"] = tmp_path / "short.mp4"
    write_video(places["S"], Video(np.zeros((1, 32, 32, 3), np.uint8), 8.0))
    assert main([str(places.get(word, word)) for word in words]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert says in said
    assert not (tmp_path / "o").exists()


def test_a_dimension_that_the_reward_does_not_know_is_an_error(
    trained: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = Dataset.open(dataset).info
    renamed = tuple(d.model_copy(update={"name": f"{d.name}2"}) for d in info.dimensions)
    Dataset.create(tmp_path / "other", info.model_copy(update={"dimensions": renamed}))
    assert main(["reward", "eval", str(trained), str(tmp_path / "other")]) == 2
    assert "'VQ2'" in capsys.readouterr().err


def test_stored_scores_give_the_figures_of_the_reward_itself(trained: Path, dataset: Path) -> None:
    reward, data = VideoReward.from_pretrained(trained), Dataset.open(dataset)
    score_dataset(reward, data, name="kept")
    figures = eval_reward(reward, data, split=None)
    assert all(row["own_log_loss"] > 0 and sum(b["n"] for b in row["own_reliability"]) == 3 for row in figures.values())
    for row in figures.values():  # the law of ties is the reward's, not the scores'
        row.update(dict.fromkeys(("own_log_loss", "own_brier", "own_ece", "own_reliability")))
    assert eval_scores(data, "kept", split=None) == figures
    with pytest.raises(DataError, match="no scores 'keptt'.*kept"):
        eval_scores(data, "keptt")


def test_the_law_of_ties_is_kept_with_the_reward(tiny_base: Path, dataset: Path, tmp_path: Path) -> None:
    words = ["reward", "train", str(dataset), "--model", str(tiny_base), *SMALL, "--out"]
    learnt = ["loss=davidson", "nu=2", "learn_ties=true", "fit.learning_rate=0.05"]
    assert main([*words, str(tmp_path / "r"), *learnt]) == 0
    ties = VideoReward.from_pretrained(tmp_path / "r").settings.ties
    assert ties is not None and ties.law == "davidson"
    assert all(0 < abs(width - 2.0) < 1.0 for width in ties.width.values())
    assert main([*words, str(tmp_path / "fixed")]) == 0
    assert VideoReward.from_pretrained(tmp_path / "fixed").settings.ties == Ties(
        law="btt", width=dict.fromkeys(("VQ", "MQ", "TA"), 5.0)
    )


def test_a_reward_against_itself_differs_nowhere(
    trained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reward", "eval", str(trained), str(dataset), "--split", "all", "--against", str(trained)]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"VQ", "MQ", "TA"}
    assert all((row["n_decided"], row["p"], row["only_first"]) == (3, 1.0, 0) for row in figures.values())
    assert main(words) == 0
    assert "(first) against" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--legacy"]) == 2
    assert "--against: it counts decided pairs alone" in capsys.readouterr().err


def test_eval_of_a_table_of_real_pairs(
    trained: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "data" / "videoalign_pairs"
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        rows = [{**row, "A_model": "x", "B_model": "y", "Overall": row["TA"]} for row in csv.DictReader(file)]
    with (tmp_path / "bench.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    words = ["reward", "eval", str(trained), str(tmp_path / "bench.csv"), "--clips", str(folder)]
    assert main(words) == 2
    assert "--format: missing" in capsys.readouterr().err
    words += ["--format", "rewardbench", "--out", str(tmp_path / "out"), "--by-generators"]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {name: (row["n"], row["n_decided"]) for name, row in figures.items()} == {
        "VQ": (3, 2),
        "MQ": (3, 1),
        "TA": (3, 2),
        "Overall": (3, 2),
    }
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["figures"] == figures
    assert result["reward"]["limits"]["max_frame_pixels"] == 1024
    assert len(result["reward"]["weights"]) == 16
    assert main(words) == 0
    assert "x and y" in capsys.readouterr().out
    rows[0]["num_frames_A"] = "127"
    with (tmp_path / "bench.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main(words) == 2
    assert "differs in table" in capsys.readouterr().err
    words[words.index("--out") + 1] = str(tmp_path / "other")
    assert main(words) == 2
    assert "bench.csv:2: example_1_A.mp4: is not the file" in capsys.readouterr().err
    assert main([*words, "--fresh", "--skip-broken"]) == 0
    assert "left out: 1 pairs" in capsys.readouterr().out
    assert main([*words, "--fresh", "check_stated=false"]) == 0
    assert "left out:" not in capsys.readouterr().out


def test_a_table_of_clips_is_scored_into_parquet_with_the_broken_ones_named(
    trained: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = dataset / "clips"
    table, out = tmp_path / "clips.csv", tmp_path / "scores.parquet"
    table.write_text(
        f"video,prompt\n{clips / 'p0a.mp4'},a red circle\nabsent.mp4,a cat\n{clips / 'qa.mp4'},a green square\n"
    )
    assert main(["reward", "score", str(trained), "--table", str(table), "--out", str(out), "--json"]) == 2
    said = capsys.readouterr()
    assert "1 of 3 clips could not be scored" in said.err
    rows = json.loads(said.out)
    assert (rows[1]["scores"], rows[1]["raw"]) == (None, None)
    assert f"{tmp_path / 'absent.mp4'}: no such file" in rows[1]["error"]
    stored = pd.read_parquet(out)
    assert list(stored) == ["video", "prompt", "VQ", "MQ", "TA", "raw_VQ", "raw_MQ", "raw_TA", "error"]
    for place in (0, 2):
        assert stored["VQ"][place] == rows[place]["scores"]["VQ"]
        assert stored["raw_TA"][place] == rows[place]["raw"]["TA"]
    assert np.isnan(stored["VQ"][1])
    assert pd.isna(stored["error"][0])
    assert main(["reward", "score", str(trained), "--table", str(table), "--out", str(tmp_path / "x.csv")]) == 2
    assert "ends in .parquet" in capsys.readouterr().err
    table.write_text("video,text\na,b\n")
    assert main(["reward", "score", str(trained), "--table", str(table)]) == 2
    assert "no column 'prompt'" in capsys.readouterr().err


def test_clips_and_tables_may_be_at_an_address(
    trained: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system, file = fsspec.filesystem("memory"), dataset / "clips" / "qa.mp4"
    system.pipe("/elsewhere/qa.mp4", file.read_bytes())
    system.pipe("/elsewhere/qb.mp4", (dataset / "clips" / "qb.mp4").read_bytes())
    system.pipe("/elsewhere/t.csv", b"video,prompt\nqa.mp4,a green square\n")
    wanted, scores = None, ["reward", "score", str(trained), "--json"]
    for given in (str(file), f"file://{file}", "memory://elsewhere/qa.mp4"):
        assert main([*scores, "--video", given, "--prompt", "a green square"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        wanted = wanted or row["raw"]
        assert row["raw"] == pytest.approx(wanted, abs=1e-5)
    assert main([*scores, "--table", "memory://elsewhere/t.csv"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["video"] == "memory://elsewhere/qa.mp4"
    assert row["raw"] == pytest.approx(wanted, abs=1e-5)
    assert main([*scores, "--video", f"file://{tmp_path}/absent.mp4", "--prompt", "a"]) == 2
    assert "absent.mp4: no such file" in capsys.readouterr().err
    table = tmp_path / "p.csv"
    table.write_text("prompt,clip_a,clip_b,VQ,MQ,TA\na green square,qa.mp4,qb.mp4,A,A,B\n", encoding="utf-8")
    words = ["reward", "eval", str(trained), str(table), "--format", "pairs", "--clips", "memory://elsewhere"]
    assert main([*words, "--out", str(tmp_path / "eval"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["VQ"]["n"] == 1
    assert '"clips": "memory://elsewhere"' in (tmp_path / "eval" / "run.json").read_text(encoding="utf-8")


def test_a_reward_is_loaded_as_asked(trained: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = ["--video", str(dataset / "clips" / "p0a.mp4"), "--prompt", "a red circle", "--json"]
    rows = []
    for load in ([], ["--load", "dtype=bfloat16", "--load", "attention=eager"]):
        assert main(["reward", "score", str(trained), *clip, *load]) == 0
        rows += json.loads(capsys.readouterr().out)
    assert rows[0]["raw"] != rows[1]["raw"]
    assert rows[1]["raw"] == pytest.approx(rows[0]["raw"], abs=0.05)
    for load, says in (("dtype=half", "dtype"), ("devise=cpu", "did you mean 'device'"), ("device=nothing", "device")):
        assert main(["reward", "eval", str(trained), str(dataset), "--load", load]) == 2
        assert says in capsys.readouterr().err.lower()


def test_the_recipe_of_the_released_reward_is_one_of_settings() -> None:
    config = RewardTrainConfig.load(Path(__file__).parents[2] / "examples" / "videoreward.yaml")
    assert config.tuning.language == "lora"
    assert config.fit.batch_size * config.fit.accumulate_steps * 8 == 32
    assert config.limits is not None
    assert config.limits.max_frame_pixels == 448 * 448
