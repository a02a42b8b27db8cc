"""Rounds of alignment on a small random model: whole or stopped anywhere, they end with the same adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.output import HOLDER_FILE, LOCK_FILE, fingerprint
from videoalign.contracts.records import DatasetInfo, Prompt
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import Dataset, prompt_id_of
from videoalign.data.latents import read_stored
from videoalign.data.lineage import prompt_hash, read_lineage
from videoalign.errors import ConfigError, DataError, OutputError
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.encode import sampler_store
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.rounds import rounds
from videoalign.recipes.generator.rounds_settings import RoundsConfig
from videoalign.recipes.judges import JUDGES
from videoalign.training.checkpoint import RunLog
from videoalign.training.loop import FitConfig
from videoalign.video.judge import FrameJudge

TEXTS = {"a red circle moves left": "train", "a blue square moves right": "train", "a red square moves left": "test"}
FIT = FitConfig(num_steps=3, batch_size=2, learning_rate=2e-2, warmup_steps=0, save_every_steps=1)
CONFIG = RoundsConfig(
    per_prompt=3, batch_size=4, judged_per_prompt=2, num_shown=1, dpo=DpoConfig(fit=FIT, beta=50.0, reference_draws=2)
)


class Bright(FrameJudge):
    """Likes light clips, and red ones."""

    name, dimensions = "bright", ("VQ", "MQ")

    def score_videos(self, videos: Any, prompts: Any) -> np.ndarray:
        return np.array([[video.frames.mean(), float(video.frames[..., 0].mean())] for video in videos])


class Smooth(FrameJudge):
    """Likes still clips; labels nothing here."""

    name, dimensions = "smooth", ("VQ",)

    def score_videos(self, videos: Any, prompts: Any) -> np.ndarray:
        return np.array([[-np.abs(np.diff(video.frames.astype(float), axis=0)).mean()] for video in videos])


@pytest.fixture(scope="module", autouse=True)
def judges() -> Iterator[None]:
    JUDGES.update(bright=Bright, smooth=Smooth)
    yield
    del JUDGES["bright"], JUDGES["smooth"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("rounds") / "model"
    settings = TINY_SETTINGS.model_copy(update={"num_steps": 2, "guidance_scale": 1.0})
    made = small_wan_generator(TEXTS, TINY_SIZES, settings=settings, name="tiny")
    with torch.no_grad():  # wider weights, so that a random model makes clips that differ
        for value in made.pipeline.vae.decoder.parameters():
            value *= 1.5
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = Dataset.create(tmp_path_factory.mktemp("rounds") / "prefs", DatasetInfo())
    dataset.add(prompts=[Prompt(prompt_id=prompt_id_of(text), text=text, split=split) for text, split in TEXTS.items()])
    return dataset


mark = shutil.ignore_patterns(HOLDER_FILE, LOCK_FILE)
"""Of a run that is there: a process that was killed is not."""


class Snapshots:
    """A progress that copies the output folder at some counts: what a process that is killed there leaves behind."""

    def __init__(self, out: Path, at: dict[tuple[str, int], Path]) -> None:
        self.out, self.at, self.counts = out, at, dict[str, int]()

    @contextmanager
    def __call__(self, name: str, total: int) -> Iterator[Callable[[], None]]:
        def advance(num: int = 1, **told: float) -> None:
            before = self.counts.get(name, 0)
            self.counts[name] = before + num
            for count in range(before + 1, before + num + 1):
                if (name, count) in self.at:
                    shutil.copytree(self.out, self.at[name, count], ignore=mark)

        yield advance


STOPS = {
    "clips of the second round": ("generate", 6 + 5),
    "steps of the second": ("align dpo", 3 + 2),
    "clips of the comparison": ("generate", 12 + 3),
}


@pytest.fixture(scope="module")
def whole(model: str, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of two rounds, with what it left on disk at each of the stops beside it."""
    root = tmp_path_factory.mktemp("whole")
    at = {stop: root / name for name, stop in STOPS.items()}
    results = rounds(
        dataset, model, "bright", root / "out", CONFIG, judge="smooth", progress=Snapshots(root / "out", at)
    )
    return root / "out", results


def artefacts(out: Path) -> dict[str, str]:
    """What the rounds leave: clips, adapters, tables and scores by place, each as a string."""
    found: dict[str, str] = {}
    for file in sorted(out.rglob("*")):
        name = str(file.relative_to(out))
        if file.suffix in (".mp4", ".parquet") or file.name in ("scores.json", "lineage.json"):
            found[name] = file.read_bytes().hex()
        elif file.name == "adapter_model.safetensors":
            found[name] = fingerprint({key: value.tolist() for key, value in load_file(file).items()})
    return found


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same(
    whole: tuple[Path, dict[str, Any]], model: str, dataset: Dataset, stop: str
) -> None:
    (out, results), broken = whole, whole[0].parent / stop
    before = artefacts(out)
    assert artefacts(broken) != before
    kept = {file: file.stat().st_mtime_ns for file in broken.rglob("round-1/adapter/adapter_model.safetensors")}
    again = rounds(dataset, model, "bright", broken, CONFIG, judge="smooth")
    assert artefacts(broken) == before
    assert again["alignment"] == results["alignment"]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_each_round_makes_its_clips_with_the_adapter_of_the_last_and_says_what_taught_it(
    whole: tuple[Path, dict[str, Any]], model: str, dataset: Dataset
) -> None:
    out, results = whole
    first, second = (Dataset.open(out / f"round-{number}" / "dataset") for number in (1, 2))
    assert {clip.seed for clip in first.clips()}.isdisjoint(clip.seed for clip in second.clips())
    for made, adapter in ((first, None), (second, out / "round-1" / "adapter")):
        generator, clip = open_generator(model, adapter), made.clips()[0]
        place = sampler_store(made, open_generator(model)).place(clip_keys(made, [clip])[0])
        latents = generator.sampler.latents([made.prompts()[0].text], [clip.seed])[0]
        torch.testing.assert_close(read_stored([place])[place], latents, rtol=0, atol=1e-4)
        assert {prompt.text for prompt in made.prompts()} == {t for t, split in TEXTS.items() if split == "train"}
    lineage = read_lineage(out / "round-2" / "adapter")
    assert lineage is not None and [teacher.digest for teacher in lineage.teachers] == [Bright().digest]
    assert lineage.prompts == tuple(sorted(prompt_hash(t) for t, split in TEXTS.items() if split == "train"))
    assert results["judge"] == "the smooth" and not results["warnings"]
    assert "labels are by bright" in results["judge_note"]
    assert list(results["alignment"]) == ["round-1", "round-2"] and list(results["over_last"]) == ["round-2"]
    assert [(row["clips"], row["pairs"]) for row in results["rounds"]] == [(6, 2), (6, 2)]
    assert "Wins over the base, by round" in (out / "report.html").read_text()
    assert not dataset.clips(), "the dataset that was given is not written to"


def test_the_second_round_starts_from_the_first_and_the_reference_is_the_base_or_that(
    whole: tuple[Path, dict[str, Any]], model: str, dataset: Dataset, tmp_path: Path
) -> None:
    out, _ = whole
    last = tmp_path / "last"
    shutil.copytree(out / "round-1", last / "round-1")  # from the base, whatever the reference of the second is
    identity = json.loads((out / "run.json").read_text())
    (last / "run.json").write_text(json.dumps({**identity, "reference": "last"}))
    rounds(dataset, model, "bright", last, CONFIG.model_copy(update={"reference": "last"}))
    margins = {
        name: [RunLog(folder / f"round-{number}" / "adapter" / "log.jsonl").rows()[0]["margin"] for number in (1, 2)]
        for name, folder in (("base", out), ("last", last))
    }
    assert margins["last"] == pytest.approx([0.0, 0.0], abs=1e-4)
    assert margins["base"][0] == pytest.approx(0.0, abs=1e-4) and abs(margins["base"][1]) > 1e-3


def test_an_adapter_has_a_page_that_says_what_it_is_and_how_good(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(whole[0] / "round-2" / "adapter", adapter)
    page = ModelCard.load(adapter / "README.md")
    assert page.data.base_model == "model" and page.data.library_name == "diffusers"
    assert {"lora", "peft", "align dpo"} <= set(page.data.tags)
    run, row = json.loads((adapter / "run.json").read_text()), whole[1]["alignment"]["round-2"]["VQ"]
    for told in (
        run["pairs"],
        f"bright, {Bright().digest}, VQ=1,MQ=1",
        f"| VQ | {row['win_rate']:.2f} |",
        "](training.png)",
    ):
        assert told in page.text
    assert (adapter / "training.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert str(tmp_path.parent) not in page.text and str(whole[0]) not in page.content
    assert main(["adapter", "card", str(adapter), "--licence", "apache-2.0"]) == 0
    again = ModelCard.load(adapter / "README.md")
    assert again.data.license == "apache-2.0" and "None yet." in again.text
    (adapter / "README.md").write_text("mine")
    assert main(["adapter", "card", str(adapter)]) == 2
    assert main(["adapter", "card", str(tmp_path)]) == 2
    assert "written by somebody else" in capsys.readouterr().err
    assert (adapter / "README.md").read_text() == "mine"


def test_more_rounds_do_only_what_is_missing_and_other_settings_are_another_run(
    whole: tuple[Path, dict[str, Any]], model: str, dataset: Dataset, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    kept = {file: file.stat().st_mtime_ns for file in out.glob("round-*/**/*.safetensors")}
    said: list[str] = []
    more = rounds(dataset, model, "bright", out, CONFIG.model_copy(update={"num_rounds": 3}), say=said.append)
    assert said == ["round 3 of 3"] and len(more["rounds"]) == 3
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert "alignment" not in more and "--judge" in more["judge_note"]
    with pytest.raises(OutputError, match="differs in per_prompt"):
        rounds(dataset, model, "bright", out, CONFIG.model_copy(update={"per_prompt": 4}))
    given = ["rounds", str(dataset.path), "--model", model, "--reward", "bright", "--out", str(tmp_path / "new")]
    assert main([*given, "--judge", "bright"]) == 2
    assert "--judge: judge 'bright' labelled the data" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    short = ["per_prompt=2", "dpo.fit.num_steps=1", "judged_per_prompt=2", "num_rounds=1", "num_shown=0"]
    assert main([*given, "--judge", "bright", "--allow-teacher-judge", *short]) == 0
    assert "is no independent judge" in " ".join(capsys.readouterr().out.split())


def test_nothing_is_made_where_prompts_or_settings_do_not_serve(
    model: str, dataset: Dataset, tmp_path: Path, capsys: Any
) -> None:
    alone = Dataset.create(tmp_path / "alone", DatasetInfo())
    alone.add(prompts=[Prompt(prompt_id=prompt_id_of("a red circle"), text="a red circle")])
    with pytest.raises(DataError, match="no held-out prompts to judge on"):
        rounds(alone, model, "bright", tmp_path / "out", CONFIG, judge="smooth")
    alone.write_prompts([Prompt(prompt_id=prompt_id_of("a red circle"), text="a red circle", split="test")])
    with pytest.raises(DataError, match="no prompts to train on"):
        rounds(alone, model, "bright", tmp_path / "out", CONFIG)
    for given, told in (
        ("sft.temperature=1", "unknown setting"),
        ("rwr.temperature=0.3", "takes effect with method=rwr"),
        ("dpo.height=64", "set height itself"),
        ("dpo.start=x", "set start itself"),
        ("dpo.fit.validate_every_steps=5", "no held-out pairs"),
        ("weights={XX: 1}", "unknown dimension 'XX'"),
    ):
        words = ["rounds", str(dataset.path), "--model", model, "--reward", "bright", "--out", str(tmp_path / "out")]
        assert main([*words, given]) == 2, given
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1, error
    with pytest.raises(ConfigError, match="reference"):
        RoundsConfig(method="sft", reference="last")
    assert not (tmp_path / "out").exists()
