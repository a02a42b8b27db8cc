"""Kills commands with -9 at random moments and compares what they leave, in the end, with what an unbroken run leaves.

    python tests/faults/kill.py --kills 30 --each

Every command is run once unbroken, in a copy of a small world, and its time is taken. Then, in fresh copies, it is
killed at moments that are even over that time, up to five times in a row, and run to its end. Commands are forked from
a process that has loaded everything, so that a kill costs what the command does and no more.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from videoalign.cli.main import build_app, main  # noqa: E402
from videoalign.contracts.digests import file_digest  # noqa: E402
from videoalign.contracts.records import Dimension, Judgement, WinLosePair  # noqa: E402
from videoalign.models.small_qwen import small_qwen2_vl, small_tokenizer, write_base  # noqa: E402
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator  # noqa: E402
from videoalign.models.videoreward import VideoReward  # noqa: E402
from videoalign.models.videoreward.processing import ReadingLimits  # noqa: E402
from videoalign.models.videoreward.prompt import default_template  # noqa: E402
from videoalign.models.videoreward.settings import Normalisation  # noqa: E402
from videoalign.recipes import score as _score  # noqa: E402, F401
from videoalign.recipes.generator import align as _align  # noqa: E402, F401
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator  # noqa: E402
from videoalign.recipes.reward import train as _train  # noqa: E402, F401

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]
HELD_OUT = "a blue circle moves left"
FIT = "fit.num_steps=4 fit.batch_size=2 fit.save_every_steps=1 fit.warmup_steps=0"

COMMANDS = {
    "generate": "generate --model model --prompts prompts.txt --out made --per-prompt 4 batch_size=2 num_steps=2",
    "score": "reward score reward --dataset data",
    "encode": "encode data --model model --pairs p --reference-draws 2 sampler_latents=false batch_size=2",
    "reward train": f"reward train data --model base --out trained {FIT}",
    "align": f"align dpo data --model model --pairs p --out adapter lora.rank=2 watch.tracker=none {FIT}",
    "guide train": f"guide train data --model model --pairs p --out guide {FIT}",
    "evaluate": "evaluate --base model --candidate model:start --prompts held_out.txt --judge reward --out report "
    "--per-prompt 3 batch_size=2 num_steps=2 num_shown=1",
}
"""Each goes on where it was when it is run again."""

TIMED = ("seconds", "versions", "finished")
"""Keys of results that tell of the run and not of what it made."""


def build_world(folder: Path, names: Set[str]) -> None:
    """What these commands need, random and as small as it comes: a generator, its data, a reward, an adapter."""
    small_wan_generator([*TEXTS, HELD_OUT], TINY_SIZES, settings=TINY_SETTINGS, name="model").save_pretrained(
        folder / "model"
    )
    (folder / "prompts.txt").write_text("\n".join(TEXTS))
    (folder / "held_out.txt").write_text(HELD_OUT)
    generator = open_generator(folder / "model")
    dataset = generate(generator, [*TEXTS, HELD_OUT], folder / "data", GenerateConfig(per_prompt=3, num_steps=2))
    prompts = [p if p.text != HELD_OUT else type(p)(**{**vars(p), "split": "val"}) for p in dataset.prompts()]
    dataset.write_prompts(prompts)
    pairs, judgements = [], []
    for prompt in prompts:
        ids = [clip.clip_id for clip in dataset.clips() if clip.prompt_id == prompt.prompt_id]
        about = {"prompt_id": prompt.prompt_id, "clip_a": ids[0], "clip_b": ids[1], "rater": "x"}
        judgements += [Judgement(**about, dimension=name, label="A") for name in dataset.dimensions]
        if prompt.split == "train":
            told = {"reward_win": 1.0, "reward_lose": 0.0, "differences": "VQ=1,MQ=1,TA=1"}
            pairs.append(WinLosePair(prompt_id=prompt.prompt_id, clip_win=ids[0], clip_lose=ids[1], **told))
    dataset.add(judgements=judgements)
    dataset.write_pairs("p", pairs)
    if names & {"score", "reward train", "evaluate"}:
        build_reward(folder, dataset.info.dimensions)
    if "evaluate" not in names:
        return
    sft = "align sft data --model model --pairs p --out start lora.rank=2 fit.num_steps=1 fit.warmup_steps=0"
    os.chdir(folder)
    assert main([*sft.split(), "watch.tracker=none"]) == 0


def build_reward(folder: Path, dimensions: Sequence[Dimension]) -> None:
    """``base`` and ``reward``."""
    tokenizer = small_tokenizer([*TEXTS, HELD_OUT, default_template(dimensions)] * 9, vocab_size=400)
    model = small_qwen2_vl(tokenizer, hidden_size=32, num_layers=2, num_heads=2, vision_dim=32, vision_heads=2)
    write_base(folder / "base", model, tokenizer)
    limits = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
    reward = VideoReward.from_base(folder / "base", limits=limits)
    known = dict.fromkeys(reward.dimensions, Normalisation(mean=0.0, std=1.0))
    reward.settings = reward.settings.model_copy(update={"normalisation": known})
    reward.save_pretrained(folder / "reward")


def forked(action: Callable[[], object], log: Path, kill_after: float | None = None) -> tuple[bool, float]:
    """Whether the action came to its end in a process of its own, and after how many seconds it or the kill came.

    Raises:
        RuntimeError: it failed by itself; the end of its log is told.
    """
    child = os.fork()
    if child == 0:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            code = 1
            try:
                code = int(action() or 0)
            finally:
                file.flush()
                os._exit(code)
    started, done = time.perf_counter(), 0
    while not done and (kill_after is None or time.perf_counter() - started < kill_after):
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if not done:
        os.kill(child, signal.SIGKILL)
        done, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False, time.perf_counter() - started
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"exit code {os.WEXITSTATUS(status)}: {log.read_text()[-1500:]}")
    return True, time.perf_counter() - started


def contents(folder: Path) -> dict[str, str]:
    """What stands for each file that a run made: its bytes; of numbers in JSON, all but those that tell of time."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if not file.is_file() or ".part" in file.name or file.name in ("digests.json", "log", ".lock"):
            continue
        if file.suffix in (".json", ".jsonl"):
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else [
                json.loads(file.read_text())
            ]  # fmt: skip
            found[name] = json.dumps(rows if file.name == "run.json" else untimed(rows), sort_keys=True)
        elif file.suffix == ".html":
            found[name] = "a page"  # it shows how long the run took
        else:
            found[name] = file_digest(file)
    return found


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


class Trial:
    """One command in copies of a world.

    Args:
        world: folder that `build_world` filled.
        name: a key of `COMMANDS`.
        rng: draws the moments.
    """

    def __init__(self, world: Path, name: str, rng: random.Random) -> None:
        self.world, self.name, self.rng = world, name, rng
        with tempfile.TemporaryDirectory() as scratch:
            _, self.seconds = self._run(self._copy(scratch), None)
            self.whole = contents(Path(scratch) / "world")

    def kill(self, times: int) -> int:
        """Kills the command so many times in one copy, runs it to its end and compares; gives how often it was hit.

        Raises:
            AssertionError: what it left differs.
        """
        with tempfile.TemporaryDirectory() as scratch:
            copy, hits = self._copy(scratch), 0
            for _ in range(times):
                ended, _ = self._run(copy, self.rng.uniform(0, self.seconds))
                hits += not ended
            self._run(copy, None)
            made = contents(copy)
        differs = sorted(key for key in {*made, *self.whole} if made.get(key) != self.whole.get(key))
        assert not differs, f"{self.name}: after {hits} kills these differ from an unbroken run's: {', '.join(differs)}"
        return hits

    def _copy(self, scratch: str) -> Path:
        return Path(shutil.copytree(self.world, Path(scratch) / "world"))

    def _run(self, copy: Path, kill_after: float | None) -> tuple[bool, float]:
        def command() -> int:
            os.chdir(copy)
            return main(COMMANDS[self.name].split())

        return forked(command, copy / "log", kill_after)


def go(num_kills: int, *, each: bool, seed: int, only: Sequence[str] = ()) -> dict[str, int]:
    """Kills as often as is said, in all or ``each`` command, and gives how often each was hit."""
    rng, names = random.Random(seed), list(only or COMMANDS)
    build_app()
    gc.freeze()
    hits = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory() as place:
        world = Path(place) / "world"
        world.mkdir()
        forked(lambda: build_world(world, set(names)), Path(place) / "log")
        trials = {name: Trial(world, name, rng) for name in names}
        while (waiting := [n for n in names if hits[n] < num_kills]) if each else sum(hits.values()) < num_kills:
            for name in waiting if each else sorted(names, key=lambda one: (hits[one], trials[one].seconds)):
                left = num_kills - hits[name] if each else num_kills - sum(hits.values())
                hits[name] += trials[name].kill(min(left, 3 if each else 5)) if left > 0 else 0
    for name in names:
        told = f"killed {hits[name]} times, equal to an unbroken run of {trials[name].seconds:.2f} s"
        sys.stdout.write(f"{name}: {told}\n")
    return hits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--each", action="store_true", help="so many of each command, not in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=())
    options = parser.parse_args()
    go(options.kills, each=options.each, seed=options.seed, only=options.only)
