"""A clip of the studio is the clip that its command makes, whatever looked on."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoalign.cli.main import main
from videoalign.sampling.generate import clip_seed
from videoalign.video.files import encode_video, read_note, read_video
from videoalign.web.studio.cache import made_in
from videoalign.web.studio.making import Made, Watch, make
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import Recipe

PROMPT = "a red circle moves left"
RECIPES = {
    "guided": Recipe(prompt=PROMPT, seed=3, weights={"VQ": 1.0, "MQ": -0.5}, strength=4.0),
    "held": Recipe(prompt=PROMPT, seed=3, method="held", weights={"VQ": 1.0}, strength=4.0),
    "early-best": Recipe(prompt=PROMPT, seed=3, method="early-best", weights={"VQ": 1.0}, candidates=3),
    "particles": Recipe(prompt=PROMPT, seed=3, method="particles", weights={"MQ": 1.0}, candidates=3, strength=4.0),
    "base": Recipe(prompt=PROMPT, seed=3, method="none", num_steps=2),
    "adapter": Recipe(prompt=PROMPT, seed=3, weights={"MQ": 1.0}, adapter="bright", scale=0.5),
}


@pytest.fixture(scope="module")
def clips(opened: Opened) -> dict[str, tuple[Made, bytes]]:
    return {name: make(opened, recipe.plain(), Watch(), with_preview=False) for name, recipe in RECIPES.items()}


def frames(content: bytes | Path) -> np.ndarray:
    return read_video(content).frames


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_makes_the_same_frames(
    clips: dict[str, tuple[Made, bytes]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = clips[name]
    monkeypatch.chdir(tmp_path)
    words = shlex.split(made.command)
    assert words[:2] == ["videoalign", "sample"]
    assert main(words[1:]) == 0
    (path,) = (tmp_path / "clips").glob("*.mp4")
    assert np.array_equal(frames(path), frames(content))
    assert str(clip_seed(3, PROMPT, 0)) in path.name


@pytest.mark.parametrize("name", ["particles", "adapter"])
def test_the_python_makes_the_same_frames(
    clips: dict[str, tuple[Made, bytes]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = clips[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "again.py").write_text(made.python)
    runpy.run_path("again.py")
    (path,) = (tmp_path / "clips").glob("*.mp4")
    assert np.array_equal(frames(path), frames(content))


def test_a_guide_and_an_adapter_change_the_clip_and_leave_nothing_behind(
    opened: Opened, clips: dict[str, tuple[Made, bytes]]
) -> None:
    shown = {name: frames(content) for name, (_, content) in clips.items()}
    assert not np.array_equal(shown["guided"], shown["base"])
    assert not np.array_equal(shown["adapter"], shown["guided"])
    _, again = make(opened, RECIPES["base"].plain(), Watch(), with_preview=False)
    assert np.array_equal(frames(again), shown["base"])


def test_whoever_looks_on_changes_nothing_and_sees_every_step(
    opened: Opened, clips: dict[str, tuple[Made, bytes]]
) -> None:
    class Looking(Watch):
        steps: list[tuple[int, int]] = []
        previews: list[bytes] = []

        def step(self, number: int, of: int) -> None:
            self.steps.append((number, of))

        def preview(self, encode: Any) -> None:
            self.previews.append(encode())

    made, content = make(opened, RECIPES["guided"].plain(), Looking(), with_preview=True)
    assert np.array_equal(frames(content), frames(clips["guided"][1]))
    assert Looking.steps == [(1, 3), (2, 3), (3, 3)]
    assert [frames(preview).shape for preview in Looking.previews] == [frames(content).shape] * 2
    times = [point.t for point in made.curve]
    assert times == sorted(times, reverse=True) and times[0] < 1 and times[-1] == 0
    assert set(made.curve[0].scores) == {"VQ", "MQ"}


def test_whatever_a_looker_raises_ends_the_sampling(opened: Opened) -> None:
    class Weary(Watch):
        def step(self, number: int, of: int) -> None:
            if number == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(opened, RECIPES["adapter"].plain(), Weary(), with_preview=False)
    assert opened.reading.acquire(blocking=False)
    opened.reading.release()
    make(opened, RECIPES["adapter"].plain(), Watch(), with_preview=False)  # the adapter came off


def test_a_clip_carries_all_that_it_was_made_with(clips: dict[str, tuple[Made, bytes]]) -> None:
    for made, content in clips.values():
        assert made_in(content) == made
    made, _ = clips["guided"]
    assert made.scores is not None and set(made.scores) == {"VQ", "MQ"}
    assert made.recipe.plain() == RECIPES["guided"].plain()


def test_a_note_survives_whatever_it_says(clips: dict[str, tuple[Made, bytes]]) -> None:
    video = read_video(clips["base"][1])
    for note in ("", "two\nlines; a=b # 'quoted' \"twice\" \\", "\u4e2d\u6587 <script>" + "x" * 70_000):
        assert read_note(encode_video(video, note=note)) == note
    assert np.array_equal(read_video(encode_video(video, note="x")).frames, read_video(encode_video(video)).frames)


def test_equal_clips_have_equal_keys_and_others_have_not(opened: Opened) -> None:
    base = Recipe(prompt=PROMPT, method="none").plain()
    same = [
        Recipe(prompt=PROMPT, weights={"VQ": 1.0}, strength=0.0),
        Recipe(prompt=PROMPT, weights={"VQ": 0.0}, strength=2.0),
        Recipe(prompt=PROMPT, method="none", adapter="bright", scale=0.0),
        Recipe(prompt=PROMPT, weights={"VQ": 1.0}, strength=2.0, adapter="bright").base(),
    ]
    assert {opened.key(recipe.plain()) for recipe in same} == {opened.key(base)}
    guided = {"prompt": PROMPT, "weights": {"VQ": 1.0}, "strength": 2.0}
    changes: list[dict[str, Any]] = [
        {}, {"seed": 1}, {"prompt": "a blue square moves right"}, {"weights": {"MQ": 1.0}}, {"strength": 2.5},
        {"num_steps": 2}, {"adapter": "bright"}, {"adapter": "bright", "scale": 0.5}, {"method": "none"},
    ]  # fmt: skip
    keys = [opened.key(Recipe(**{**guided, **change}).plain()) for change in changes]
    assert len(set(keys)) == len(changes)
    searched = [guided | {"method": "early-best", "strength": strength} for strength in (0.0, 1.0, 5.0)]
    (key,) = {opened.key(Recipe(**one).plain()) for one in searched}
    assert key not in {opened.key(base), *keys}, "the strength does not count, not even where it is 0"
    still = [Recipe(**guided | {"method": "particles", "strength": strength}).plain() for strength in (0.0, 5.0)]
    assert len({opened.key(base), *map(opened.key, still)}) == 3
