"""One clip: sampled, watched while it is, scored, written."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from videoalign.contracts.generator import Generator
from videoalign.contracts.scores import clip_score
from videoalign.contracts.video import Video
from videoalign.errors import DataError, VideoAlignError
from videoalign.flow.path import data_ahead
from videoalign.models.network_adapters import drop_adapters, load_adapters
from videoalign.recipes.generator.steering import GRADIENT, READ_BY, Steer
from videoalign.sampling.generate import clip_seed
from videoalign.sampling.watched import StepTaken
from videoalign.video.files import encode_video
from videoalign.web.studio.methods import METHODS, WatchedGenerator
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import Recipe

SAMPLE_FOLDER = "clips"
"""Where the command that makes a clip again puts it."""


class Point(BaseModel):
    """What the guide thinks of a clip on its way."""

    step: int
    """From 1."""
    t: float
    """In [0, 1]; 1 is noise."""
    scores: dict[str, float]
    """By dimension; only differences between clips at one time mean something."""


class Made(BaseModel):
    """A clip that was made, as its file says it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["videoalign.studio.1"] = "videoalign.studio.1"
    recipe: Recipe
    """How it was made."""
    made_with: dict[str, str | None]
    """See `Opened.made_with`."""
    scores: dict[str, float] | None
    """The judge's, by dimension; None where there is none, or it cannot score the clip."""
    unscored: str | None
    """Why the judge could not score the clip."""
    curve: list[Point]
    """What the guide thought of it on its way; empty without one."""
    seconds: float
    """That it took to make."""
    fps: float
    num_frames: int
    width: int
    height: int
    command: str
    """Makes it again."""
    python: str
    """The same in Python."""


class Watch:
    """Is told how a clip comes along."""

    def step(self, number: int, of: int) -> None:
        """A step, from 1, is being taken; whatever is raised here gives the clip up."""

    def point(self, point: Point) -> None:
        """The guide was asked."""

    def preview(self, encode: Callable[[], bytes]) -> None:
        """The clip can be looked at as an mp4 file."""


@contextmanager
def prepared(opened: Opened, recipe: Recipe) -> Iterator[Generator]:
    """The generator with the adapter and the steps of a recipe, while the block runs."""
    generator = opened.generator.changed({"num_steps": recipe.num_steps})
    if recipe.adapter is not None:
        place = opened.sources.adapters[recipe.adapter]
        load_adapters(generator.network, place, base=generator.identity(), scale=recipe.scale)
    try:
        yield generator
    finally:
        if recipe.adapter is not None:
            drop_adapters(generator.network)


def make(opened: Opened, recipe: Recipe, watch: Watch, *, with_preview: bool) -> tuple[Made, bytes]:
    """A clip and its file, which carries what is known of it as its note.

    Args:
        opened: what it is made with.
        recipe: as `Recipe.plain` has it.
        watch: is told how it comes along.
        with_preview: whether it is decoded on its way.

    Raises:
        DataError: the model cannot read the prompt.
        ModelError: the adapter cannot be used, or the guide's gradient is not finite.
    """
    begin, curve = time.perf_counter(), list[Point]()
    seed = clip_seed(recipe.seed, recipe.prompt, 0)
    with prepared(opened, recipe) as generator, ExitStack() as turn, torch.no_grad():
        steps = generator.sampler.num_steps
        of = round(METHODS[recipe.method].runs * steps)
        glances = _spread(opened.settings.num_glances, steps)
        previews = _spread(opened.settings.num_previews + 1, steps) - {steps} if with_preview else set()
        number = 0

        def after(taken: StepTaken) -> None:
            nonlocal number
            number += 1
            watch.step(min(number, of), of)
            if taken.number == 1:
                curve.clear()  # of a search, the last sampling is the clip's
            if taken.number in glances and opened.reward is not None:
                curve.append(_asked(opened, taken))
                watch.point(curve[-1])
            if taken.number in previews:
                latents = data_ahead(taken.x_t[:1], taken.velocity[:1], taken.t[:1])
                watch.preview(lambda: encode_video(generator.codec.decode(latents, [seed])[0]))

        turn.enter_context(opened.reading)  # until the prompt is read
        watched: Any = WatchedGenerator(generator, after, turn.close)
        steering = METHODS[recipe.method].steering(opened, recipe)
        if steering is None:
            latents = watched.sampler.latents([recipe.prompt], [seed])
        else:
            latents = steering.latents(watched, [recipe.prompt], [seed])
        video = generator.codec.decode(latents, [seed])[0]
    scores, unscored = _judged(opened, video, recipe.prompt)
    num_frames, height, width, _ = video.frames.shape
    made = Made(
        recipe=recipe,
        made_with=opened.made_with,
        scores=scores,
        unscored=unscored,
        curve=curve,
        seconds=round(time.perf_counter() - begin, 3),
        fps=video.fps,
        num_frames=num_frames,
        width=width,
        height=height,
        command=command(opened, recipe),
        python=python(opened, recipe),
    )
    return made, encode_video(video, note=made.model_dump_json())


def command(opened: Opened, recipe: Recipe) -> str:
    """The line for a shell that makes a clip again, frame for frame."""
    words = ["videoalign", "sample", "--model", opened.sources.model]
    if recipe.adapter is not None:
        words += ["--adapter", str(opened.sources.adapters[recipe.adapter]), "--adapter-strength", repr(recipe.scale)]
    words += _steer_words(METHODS[recipe.method].steer(opened, recipe))
    for name, value in opened.place.items():
        words += [f"--{name}", value] if value not in ("auto", "none") else []
    prompt = [f"--prompt={recipe.prompt}"] if recipe.prompt.startswith("-") else ["--prompt", recipe.prompt]
    words += [*prompt, "--seed", str(recipe.seed), "--out", SAMPLE_FOLDER]
    return shlex.join([*words, *(f"{name}={value}" for name, value in _sampling(opened, recipe).items())])


def python(opened: Opened, recipe: Recipe) -> str:
    """The same in Python."""
    adapter = "" if recipe.adapter is None else f", {str(opened.sources.adapters[recipe.adapter])!r}"
    scale = "" if recipe.adapter is None else f", scale={recipe.scale!r}"
    place = "".join(f", {name}={value!r}" for name, value in opened.place.items())
    steer = METHODS[recipe.method].steer(opened, recipe)
    settings = ", ".join([f"seed={recipe.seed}", *(f"{k}={v!r}" for k, v in _sampling(opened, recipe).items())])
    lines = ["from videoalign.recipes.generator.generate import SampleConfig, open_generator, sample"]
    if steer is not None:
        lines.append("from videoalign.recipes.generator.steering import Steer")
    lines += ["", f"generator = open_generator({opened.sources.model!r}{adapter}{scale}{place})"]
    if steer is not None:
        given = {name: value for name, value in vars(steer).items() if value != getattr(Steer(), name)}
        words = ", ".join(f"{name}={(str(v) if isinstance(v, Path) else v)!r}" for name, v in given.items())
        lines.append(f"steering = Steer({words}).open(generator)")
    how = f"SampleConfig({settings}){', steering=steering' if steer is not None else ''}"
    return "\n".join([*lines, f"sample(generator, [{recipe.prompt!r}], {SAMPLE_FOLDER!r}, {how})"])


def _steer_words(steer: Steer | None) -> list[str]:
    if steer is None:
        return []
    weights = ",".join(f"{name}={weight!r}" for name, weight in (steer.weights or {}).items())
    words = ["--steer", str(steer.way)] if steer.way != GRADIENT else []
    words += ["--guide", str(steer.guide), "--weights", weights]
    words += ["--strength", repr(steer.strength)] if steer.way in READ_BY["strength"] else []
    words += ["--hold", steer.hold] if steer.hold else []
    return words + (["--candidates", str(steer.candidates)] if steer.way in READ_BY["candidates"] else [])


def _sampling(opened: Opened, recipe: Recipe) -> dict[str, object]:
    """The settings of the model that are other than its own."""
    given = {name: value for name, value in opened.settings.of_model().items() if value is not None}
    return given | ({} if recipe.num_steps is None else {"num_steps": recipe.num_steps})


def _spread(number: int, steps: int) -> set[int]:
    """So many of the steps, evenly spread, the last among them; all of them where there are fewer."""
    number = min(number, steps)
    return {round(steps * (k + 1) / number) for k in range(number)}


def _asked(opened: Opened, taken: StepTaken) -> Point:
    assert opened.reward is not None
    row = opened.reward.score(taken.moved[:1], taken.t_next[:1], taken.condition.rows(slice(1)))[0].tolist()
    return Point(step=taken.number, t=float(taken.t_next[0]), scores=dict(zip(opened.dimensions, row, strict=True)))


def _judged(opened: Opened, video: Video, prompt: str) -> tuple[dict[str, float] | None, str | None]:
    """The judge's scores, or why there are none."""
    if opened.judge is None:
        return None, None
    try:
        read = opened.judge.reader((encode_video(video), prompt))
    except DataError as error:
        return None, str(error)
    (row,) = opened.judge.score_read([read])
    if isinstance(row, DataError):
        return None, str(row)
    if isinstance(row, VideoAlignError):
        raise row
    return clip_score(opened.judge, row).scores, None
