"""The parts of a studio one by one: its cache, the choice of weights, the sheet, what it is opened from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoalign.cli.main import main
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.video.files import encode_video
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.grid import FIRST, next_place
from videoalign.web.studio.making import Made
from videoalign.web.studio.opening import Sources, adapters_by_name, open_sources, sources_of_run
from videoalign.web.studio.recipe import Recipe
from videoalign.web.studio.settings import StudioSettings
from videoalign.web.studio.sheet import LABEL_PX, PAPER, contact_sheet

PLACE = {"device": "cpu", "dtype": "float32", "offload": "none"}


def made(seed: int) -> Made:
    return Made(
        recipe=Recipe(prompt="x", seed=seed),
        made_with={},
        scores=None,
        unscored=None,
        curve=[],
        seconds=1.0,
        fps=8.0,
        num_frames=4,
        width=16,
        height=16,
        command="",
        python="",
    )


def content(one: Made, size: int = 16) -> bytes:
    return encode_video(Video(np.full((4, size, size, 3), 90, np.uint8), 8.0), note=one.model_dump_json())


def test_a_cache_gives_back_what_it_was_given_also_to_the_next_process(tmp_path: Path) -> None:
    Cache(tmp_path, 2**20).put("a", made(1), content(made(1)))
    assert Cache(tmp_path, 2**20).get("a") == made(1)
    assert Cache(tmp_path, 2**20).get("b") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_was_asked_for_longest_ago_goes_first(tmp_path: Path) -> None:
    size = len(content(made(0)))
    cache = Cache(tmp_path, 3 * size + size // 2)
    for number in range(3):
        cache.put(f"k{number}", made(number), content(made(number)))
        os.utime(cache.path(f"k{number}"), (1000 + number, 1000 + number))
    assert cache.get("k0") == made(0)
    cache.put("k3", made(3), content(made(3)))
    assert {path.stem for path in tmp_path.iterdir()} == {"k0", "k2", "k3"}
    assert cache.get("k1") is None
    assert Cache(tmp_path, 1).get("k3") == made(3)  # nothing is removed by looking
    small = Cache(tmp_path, 1)
    small.put("k4", made(4), content(made(4)))
    assert {path.stem for path in tmp_path.iterdir()} == {"k4"}  # the newest stays, whatever its size


def test_a_damaged_clip_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 2**20)
    whole = content(made(1))
    for broken in (
        b"",
        whole[: len(whole) // 2],
        content(made(1)).replace(b"videoalign.studio.1", b"videoalign.studio.x"),
    ):
        cache.path("a").write_bytes(broken)
        assert cache.get("a") is None


def test_the_next_weights_lie_in_the_middle_of_the_largest_gap() -> None:
    line = {(0.0, 0.0): (0.0, 0.0), (1.0, 0.0): (1.0, 0.1), (0.0, 1.0): (0.1, 0.1), (1.0, 1.0): (1.0, 0.2)}
    assert next_place({place: line[place] for place in list(line)[:2]}) == (0.5, 0.0)
    assert next_place(line) in {(0.5, 0.0), (0.5, 1.0), (0.5, 0.5)}  # between those that are far apart
    assert next_place({(0.0, 0.0): (1.0, 1.0)}) is None
    assert next_place({}) is None


def test_a_gap_on_the_front_counts_twice() -> None:
    scores = {
        (0.0, 0.0): (0.0, 0.0), (1.0, 0.0): (1.0, 0.0), (0.0, 1.0): (0.0, 1.0), (1.0, 1.0): (0.1, 0.1),
    }  # fmt: skip
    chosen = next_place(scores)
    assert chosen == (0.5, 0.5)  # between both ends of the front, which are neighbours across the square


def test_places_are_new_and_inside() -> None:
    scores = {place: (place[0], place[1] ** 2) for place in FIRST}
    for _ in range(20):
        place = next_place(scores)
        assert place is not None and place not in scores and all(0 <= weight <= 1 for weight in place)
        scores[place] = (place[0], place[1] ** 2)


def test_a_sheet_holds_every_clip_under_its_label() -> None:
    clips = [(f"VQ {k}", Video(np.full((3 + k, 40, 80, 3), 60 + 40 * k, np.uint8), 8.0)) for k in range(3)]
    sheet = contact_sheet(clips)
    frames, height, width, _ = sheet.frames.shape
    assert (frames, height % 2, width % 2, sheet.fps) == (5, 0, 0, 8.0)
    levels = {int(level) for level in np.unique(sheet.frames[-1, LABEL_PX + 20 :: 126, 90::164, 0])}
    assert {60, 100, 140} <= levels
    label = sheet.frames[0, 4 : 4 + LABEL_PX, 4:160]
    assert (label != np.array(PAPER)).any()


def test_a_run_brings_model_guide_adapters_and_judge(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"command": "quickstart"}))
    with pytest.raises(ConfigError, match="no guide and no adapter yet"):
        sources_of_run(tmp_path)
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide/latent_reward.json").write_text("{}")
    (tmp_path / "adapters/dpo").mkdir(parents=True)
    (tmp_path / "adapters/dpo/adapter_model.safetensors").write_bytes(b"")
    found = sources_of_run(tmp_path)
    assert (found.model, found.guide, found.judge) == ("sprites", tmp_path / "guide", "oracle")
    assert found.adapters == {"dpo": tmp_path / "adapters/dpo"}


@pytest.mark.parametrize("text", [None, "{", "[]", '{"command": "align"}'])
def test_what_is_no_run_is_refused_with_the_way_to_one(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match="videoalign quickstart --out"):
        sources_of_run(tmp_path)


def test_adapters_are_called_by_their_folders() -> None:
    places = [Path("a/dpo"), Path("b/dpo"), Path("c/x.safetensors")]
    assert adapters_by_name(places) == {"dpo": places[0], "dpo (2)": places[1], "x": places[2]}


def test_a_guide_or_an_adapter_of_another_model_is_refused(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing at"):
        open_sources(Sources(model=sources.model, adapters={"x": tmp_path / "x"}), StudioSettings(), PLACE)
    with pytest.raises(ModelError, match="no latent reward"):
        open_sources(Sources(model=sources.model, guide=tmp_path), StudioSettings(), PLACE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "videoalign quickstart"),
        (["--model", "somewhere"], "videoalign guide train"),
        (["--run", "nowhere"], "is no quickstart run"),
        (["--run", "nowhere", "--model", "sprites"], "leave out --model or --run"),
        (["--guide", "nowhere", "--host", "0.0.0.0"], "token"),
        (["max_seed=3"], "max_seeds"),
    ],
)
def test_the_command_says_in_one_line_what_is_missing(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIDEOALIGN_TOKEN", raising=False)
    assert main(["studio", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert list(tmp_path.iterdir()) == []
