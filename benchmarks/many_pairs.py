"""Memory and time to the first step of an alignment on many pairs, at the latent size of Wan at 480 x 832 x 81.

python benchmarks/many_pairs.py --out runs/many_pairs --json runs/many_pairs.json     # 100,000 pairs, some minutes

The transformer and the text encoder are tiny, for the figures are of all that is beside the model. Shards of latents
and texts are sparse files: they have their full size, 1.7 TB, and take next to nothing on the disk. The alignment runs
in a process of its own; "beside the model" is the most that was resident in it, less what was when the model was open.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, DatasetInfo, Prompt, WinLosePair
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import Dataset
from videoalign.data.latents import ConditionStore, TensorStore
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.small_wan import TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import method_config
from videoalign.recipes.generator.encode import LATENTS_FOLDER, SHARD_CLIPS, sampler_store
from videoalign.recipes.generator.generate import open_generator

WAN = SamplingSettings(max_text_tokens=64)
LATENT, TEXT = (16, 21, 60, 104), (1, 32, 16)
PAIRS_OF_PROMPT = 4


def build(out: Path, num_pairs: int) -> None:
    """A dataset of ``num_pairs`` pairs whose latents are kept, and the generator that they are of."""
    sizes = TINY_SIZES.model_copy(update={"latent_channels": LATENT[0]})
    made = small_wan_generator(["clip number"], sizes, settings=WAN.model_copy(update={"known_words_only": False}))
    pipeline = made.pipeline
    config = {**pipeline.transformer.config, "patch_size": (1, 10, 13)}  # 1008 tokens, for a quick step
    pipeline.transformer = type(pipeline.transformer).from_config(config)
    PipelineGenerator(pipeline, made.settings).save_pretrained(out / "model")
    generator = open_generator(out / "model")
    dataset = Dataset.create(out / "d", DatasetInfo())
    prompts, clips, pairs = [], [], []
    for p in range(num_pairs // PAIRS_OF_PROMPT):
        prompts.append(Prompt(prompt_id=f"p{p}", text=f"clip number {p}"))
        (dataset.path / f"clips/{p % 1000}").mkdir(parents=True, exist_ok=True)
        for c in range(2 * PAIRS_OF_PROMPT):
            path = f"clips/{p % 1000}/{p}-{c}.mp4"
            (dataset.path / path).write_text(path)  # never decoded, since its latents are there
            about = {"fps": WAN.fps, "num_frames": WAN.num_frames, "height": WAN.height, "width": WAN.width}
            clips.append(Clip(clip_id=f"p{p}c{c}", prompt_id=f"p{p}", path=path, **about))
        for c in range(PAIRS_OF_PROMPT):
            ids = {"clip_win": f"p{p}c{2 * c}", "clip_lose": f"p{p}c{2 * c + 1}"}
            pairs.append(WinLosePair(prompt_id=f"p{p}", **ids, reward_win=1.0, reward_lose=0.0))
    dataset.add(prompts=prompts, clips=clips)
    dataset.write_pairs("p", pairs)
    fill(sampler_store(dataset, generator), clip_keys(dataset, clips), LATENT)
    conditioner = generator.conditioner
    about = {"text_encoder": conditioner.identity()}
    store = ConditionStore(dataset.path / LATENTS_FOLDER, about, conditioner.names, conditioner.lengths)
    fill(store.tensors, (f"{fingerprint(prompt.text)}.text" for prompt in prompts), TEXT)


def fill(store: TensorStore, keys: Iterable[str], shape: tuple[int, ...]) -> None:
    """Zeros of this shape under all keys, in sparse shards."""
    store.add({"first": torch.zeros(1)})  # makes the folder and its manifest
    (first,) = store.folder.glob(f"{store.kind}-{store.group}-*")
    waiting, size = list(keys), 4 * int(torch.tensor(shape).prod())
    for number, begin in enumerate(range(0, len(waiting), SHARD_CLIPS), start=1):
        some = waiting[begin : begin + SHARD_CLIPS]
        places: Mapping[str, Any] = {
            key: {"dtype": "F32", "shape": shape, "data_offsets": [place * size, (place + 1) * size]}
            for place, key in enumerate(some)
        }
        header = json.dumps(places).encode()
        header += b" " * (-len(header) % 8)
        with (first.parent / f"{first.stem[:-5]}{number:05d}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + len(some) * size)


def resident(kind: str) -> float:
    """MiB of this process that are resident now (``VmRSS``), or were at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


def train(out: Path, num_steps: int, batch_size: int) -> None:
    """Aligns and prints what it took."""
    torch.set_num_threads(1)
    generator: PipelineGenerator = open_generator(out / "model")
    assert generator.network.identity()
    opened, started = resident("VmRSS"), time.perf_counter()
    first: list[float] = []
    fit = {"num_steps": num_steps, "batch_size": batch_size, "warmup_steps": 0}
    config = method_config("dpo").build_from({"fit": fit, "lora": {"rank": 2}})
    shutil.rmtree(out / "adapter", ignore_errors=True)
    run = align(
        "dpo",
        Dataset.open(out / "d"),
        generator,
        "p",
        out / "adapter",
        config,
        on_step=lambda row: first.append(time.perf_counter() - started),
    )
    told = {
        "pairs": run.num_pairs,
        "seconds_to_first_step": round(first[0], 1),
        "seconds_of_that_step": round(run.history[0]["seconds"], 1),
        "seconds_of_a_later_step": round(sum(row["seconds"] for row in run.history[1:]) / (num_steps - 1), 1),
        "mib_beside_the_model": round(resident("VmHWM") - opened),
        "steps": num_steps,
        "batch_size": batch_size,
    }
    print(json.dumps(told))


def main() -> None:
    """Builds, trains in a process of its own, prints and deletes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in; deleted at the end")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--only-train", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only_train:
        return train(given.out, given.steps, given.batch_size)
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    build(given.out, given.pairs)
    told = subprocess.run([sys.executable, *sys.argv, "--only-train"], check=True, stdout=subprocess.PIPE).stdout
    print(told.decode(), end="")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_bytes(told)
    shutil.rmtree(given.out)
    return None


if __name__ == "__main__":
    main()
