"""A good reward passes its probes, a gamed or blind one does not, and clips are never held together."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.evaluation.probes import PROBES
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.recipes.reward.probe import BATCH_SIZE, ProbeConfig, probe_reward, spread_clips
from videoalign.video.files import write_video
from videoalign.video.judge import FrameJudge
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES
from videoalign.worlds.sprites.renderer import FPS, Flaws, render, sample_scene

FEW = ProbeConfig(max_clips=6, min_clips=6)


class Measure(FrameJudge):
    """A reward of three functions of (video, prompt)."""

    name = "measure"

    def __init__(
        self, *scores: Callable[[Video, str], float], dimensions: tuple[str, ...] = ("VQ", "MQ", "TA")
    ) -> None:
        self.scores, self.dimensions = scores, dimensions

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        rows = [[score(video, prompt) for score in self.scores] for video, prompt in zip(videos, prompts, strict=True)]
        return np.array(rows, dtype=np.float64)


def contrast(video: Video, prompt: str) -> float:
    """Taken for visual quality, noise and stripes are what raises it."""
    return float(np.abs(np.diff(video.frames.astype(float), axis=2)).mean())


def difference(video: Video, prompt: str) -> float:
    """Taken for motion quality, shuffled frames are what raises it."""
    return float(np.abs(np.diff(video.frames.astype(float), axis=0)).mean())


def brightness(video: Video, prompt: str) -> float:
    """Knows nothing of the prompt."""
    return float(video.frames.mean())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two rendered clips, one clean and one flawed, of each of eight held-out and two other sentences."""
    made = Dataset.create(tmp_path_factory.mktemp("data") / "d", DatasetInfo())
    rng = np.random.default_rng(0)
    prompts, clips = [], []
    chosen = [(s, "val") for s in HELD_OUT_SENTENCES[::5]] + [(s, "train") for s in TRAIN_SENTENCES[:2]]
    for number, (sentence, split) in enumerate(chosen):
        prompts.append(Prompt(prompt_id=f"p{number}", text=sentence.text(), split=split))
        for side, flaws in (("a", Flaws()), ("b", Flaws(blur_px=1.0, jitter_px=0.6))):
            clip_id = f"p{number}{side}"
            path = f"clips/{clip_id}.mp4"
            write_video(made.path / path, Video(render(sample_scene(sentence, rng, flaws)), FPS))
            about = {"fps": FPS, "num_frames": 17, "height": 64, "width": 64}
            clips.append(Clip(clip_id=clip_id, prompt_id=f"p{number}", path=path, **about))
    made.add(prompts=prompts, clips=clips)
    return made


@pytest.fixture(scope="module")
def of_oracle(dataset: Dataset) -> dict[str, Any]:
    return probe_reward(Oracle(), dataset, FEW)


def verdicts(result: dict[str, Any], dimension: str) -> dict[str, str | None]:
    return {probe["probe"]: probe["dimensions"][dimension]["verdict"] for probe in result["probes"]}


def test_the_truth_of_the_sprite_world_sees_what_was_done_to_its_clips(of_oracle: dict[str, Any]) -> None:
    assert verdicts(of_oracle, "MQ") | {"greyscale": "ok"} == {
        **dict.fromkeys((probe.name for probe in PROBES), "ok"),
        "rate doubled": None,
        "resized": None,
    }
    assert {verdicts(of_oracle, "VQ")[name] for name in ("blur", "watermark", "shuffled frames")} == {"ok"}
    text = {probe["probe"]: probe["dimensions"]["TA"]["change"] for probe in of_oracle["probes"]}
    assert verdicts(of_oracle, "TA")["prompt swapped"] == "ok"
    assert text["reversed"] < -0.5  # each sentence of this world names a direction
    assert (of_oracle["clips"], of_oracle["reward"], of_oracle["settings"]) == (
        6,
        "oracle",
        {**FEW.model_dump(), "split": "val"},
    )
    json.dumps(of_oracle, allow_nan=False)


def test_clips_that_the_reward_refuses_once_changed_are_told_and_not_counted(of_oracle: dict[str, Any]) -> None:
    (resized,) = [probe for probe in of_oracle["probes"] if probe["probe"] == "resized"]
    assert (resized["refused"], resized["dimensions"]["VQ"]["n"]) == (6, 0)
    assert "clip is 48x48; wanted 64x64" in resized["refusal"]
    assert {probe["refused"] for probe in of_oracle["probes"] if probe["probe"] != "resized"} == {0}


def test_a_gamed_reward_is_caught(dataset: Dataset) -> None:
    result = probe_reward(Measure(contrast, difference, brightness), dataset, FEW)
    assert [verdicts(result, "VQ")[name] for name in ("noise", "watermark", "blur")] == ["wrong", "wrong", "ok"]
    assert [verdicts(result, "MQ")[name] for name in ("shuffled frames", "static frame", "noise")] == [
        "wrong",
        "ok",
        "wrong",
    ]
    assert verdicts(result, "TA")["prompt swapped"] == "wrong"


def test_a_blind_reward_is_wrong_wherever_something_must_fall_and_nowhere_else(dataset: Dataset) -> None:
    def blind(video: Video, prompt: str) -> float:
        return 0.5

    result = probe_reward(Measure(blind, blind, blind), dataset, FEW)
    for probe, counted in zip(PROBES, result["probes"], strict=True):
        for row in counted["dimensions"].values():
            wanted = {"down": "wrong", "any": None}.get(row["expected"], "ok")
            assert (probe.name, row["change"], row["verdict"]) == (probe.name, 0.0, wanted)


def test_a_dimension_that_must_not_see_the_prompt_is_caught_peeping(dataset: Dataset) -> None:
    def peeping(video: Video, prompt: str) -> float:
        return brightness(video, prompt) + 1e-3 * len(prompt)

    result = probe_reward(Measure(peeping, brightness, brightness), dataset, FEW)
    assert (verdicts(result, "VQ")["prompt swapped"], verdicts(result, "MQ")["prompt swapped"]) == ("wrong", "ok")


def test_dimensions_of_a_videoreward_before_the_prompt_do_not_move_with_it(dataset: Dataset, tiny_base: Path) -> None:
    limits = ReadingLimits(fps=4, min_frame_pixels=1024, max_frame_pixels=1024)
    reward = VideoReward.from_base(tiny_base, limits=limits).eval()
    clips = dataset.clips()
    reward.set_normalisation(reward.score_raw([dataset.load(clip) for clip in clips], ["a red circle"] * len(clips)))
    swapped = probe_reward(reward, dataset, FEW)["probes"][-1]
    rows = swapped["dimensions"]
    assert [rows[name]["expected"] for name in ("VQ", "MQ", "TA")] == ["fixed", "fixed", "down"]
    assert [rows[name]["verdict"] for name in ("VQ", "MQ")] == ["ok", "ok"]
    assert rows["TA"]["largest"] > 1e-3


def test_roles_are_given_by_name_and_a_dimension_without_one_gets_no_verdict(dataset: Dataset) -> None:
    reward = Measure(brightness, difference, dimensions=("shine", "motion"))
    free = probe_reward(reward, dataset, FEW)
    assert {row["role"] for probe in free["probes"] for row in probe["dimensions"].values()} == {None}
    assert set(verdicts(free, "motion").values()) == {None}
    given = probe_reward(reward, dataset, FEW.model_copy(update={"roles": {"motion": "motion_quality"}}))
    assert verdicts(given, "motion")["static frame"] == "ok"
    assert set(verdicts(given, "shine").values()) == {None}
    with pytest.raises(ConfigError, match="does not score 'motions'. Did you mean 'motion'"):
        probe_reward(reward, dataset, ProbeConfig(roles={"motions": "motion_quality"}))


def test_the_same_seed_gives_the_same_numbers(dataset: Dataset) -> None:
    reward = Measure(contrast, difference, brightness)
    one, again = probe_reward(reward, dataset, FEW), probe_reward(reward, dataset, FEW)
    assert one == again
    other = probe_reward(reward, dataset, FEW.model_copy(update={"seed": 1}))
    assert other["probes"] != one["probes"]


def test_no_more_than_one_batch_is_held_besides_the_clip(dataset: Dataset) -> None:
    seen: list[weakref.ref[Video]] = []
    held = []

    def watch(video: Video, prompt: str) -> float:
        seen.append(weakref.ref(video))
        held.append(len({id(alive) for one in seen if (alive := one()) is not None}))
        return brightness(video, prompt)

    probe_reward(Measure(watch, dimensions=("VQ",)), dataset, FEW)
    assert len(held) == 6 * (len(PROBES) + 1)
    assert max(held) <= BATCH_SIZE + 1


def test_a_sample_is_spread_over_the_prompts_whatever_order_the_clips_come_in() -> None:
    about = {"path": "x.mp4", "fps": 8.0, "num_frames": 8, "height": 8, "width": 8}
    owners = ["p"] * 5 + ["q"] * 2 + ["r"]
    clips = [Clip(clip_id=f"c{number}", prompt_id=owner, **about) for number, owner in enumerate(owners)]

    def prompts_of(num_clips: int) -> list[str]:
        return [clip.prompt_id for clip in spread_clips(clips, num_clips, seed=0)]

    assert prompts_of(3) == ["p", "q", "r"]
    assert prompts_of(5) == ["p", "p", "q", "q", "r"]
    assert prompts_of(7) == ["p", "p", "p", "p", "q", "q", "r"]
    assert spread_clips(clips, 99, seed=0) == clips
    turned = spread_clips(clips[::-1], 4, seed=0)
    assert turned[::-1] == spread_clips(clips, 4, seed=0)
    assert {clip.clip_id for seed in range(200) for clip in spread_clips(clips, 1, seed=seed)} == {
        clip.clip_id for clip in clips
    }


def test_what_cannot_be_probed_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    def lost(video: Video, prompt: str) -> float:
        return float("nan")

    with pytest.raises(ModelError, match="wanted finite"):
        probe_reward(Measure(lost, dimensions=("VQ",)), dataset, FEW)
    with pytest.raises(DataError, match="no clip of split 'val'"):
        probe_reward(Oracle(), Dataset.create(tmp_path / "empty", DatasetInfo()), FEW)


def test_the_command_prints_writes_and_is_strict_when_asked(
    dataset: Dataset, of_oracle: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["reward", "probe", "oracle", str(dataset.path)]
    few = [*words, "--max-clips", "6", "min_clips=6", "--out", str(out)]
    assert main([*few, "--strict"]) == 2
    said = capsys.readouterr()
    assert "static frame" in said.out
    assert "resized: 6 of 6 clips were refused" in said.out
    assert said.err.count("\n") == 1
    assert "greyscale on MQ" in said.err
    assert json.loads((out / "probes.json").read_text()) == of_oracle
    assert main(few) == 2
    assert "holds a probe report already" in capsys.readouterr().err
    assert main([*words, "--max-clips", "1", "--json", "--strict", "--fresh", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "probes.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["oracle", "absent"], "no dataset here"),
        (["absent", "D"], "absent"),
        (["oracle", "D", "--split", "dev"], "setting 'split'"),
        (["oracle", "D", "roles.VQ=beauty"], "visual_quality"),
        (["oracle", "D", "roles.VX=visual_quality"], "does not score 'VX'"),
        (["oracle", "D", "bandd=1"], "Did you mean 'band'"),
        (["oracle", "D", "--max-clips", "0"], "setting 'max_clips'"),
        (["oracle", "D", "--out", "D"], "holds other files"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], says: str, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reward", "probe", *(str(dataset.path) if word == "D" else word for word in words)]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert says in said
