"""Runs commands on an S3 server behind a network that fails, kills them with -9, and compares with a folder on a disk.

    python tests/faults/stores.py --rate 0.05 --kills 1
    python tests/faults/stores.py --rate 0.05 --kills 0 --only quickstart

All that a command takes and makes is on the server: generator, reward, base, data, adapters, reports. The network
loses, delays, cuts and changes what goes through it, at random from a seed.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.kill import COMMANDS as KILLED
from tests.faults.kill import build_world, contents, forked
from tests.stores.s3_server import BUCKET, KEYS, Network, s3_server, use_server
from videoalign.cli.main import build_app, main
from videoalign.stores import lease, remote
from videoalign.stores.opening import Request, opened

SMALL = {
    "num_prompts": 4,
    "num_held_out": 2,
    "per_prompt": 2,
    "judged_per_prompt": 1,
    **{name: {"fit": {"num_steps": 2, "batch_size": 2}} for name in ("reward", "sft", "rwr", "dpo", "guide")},
    "weightings": [{"VQ": 1.0}],
    "num_shown": 1,
    "num_workers": 1,
}
COMMANDS = {**KILLED, "quickstart": "quickstart --out quick --config small.yaml"}

FOLDERS = ("quick", "model", "reward", "base", "data", "start", "made", "trained", "adapter", "guide", "report")
"""Of the world and of what commands make there."""


def at(place: str, command: str) -> list[str]:
    """A command with its folders at an address."""

    def word(text: str) -> str:
        return ":".join(f"{place}/{part}" if part in FOLDERS else part for part in text.split(":"))

    words = command.split()
    start = 2 if words[0] in ("reward", "guide") else 1
    return [*words[:start], *map(word, words[start:])]


def made_at(place: str, folder: str, cache: Path) -> dict[str, str]:
    """What is there in the end, for somebody who was never there before."""
    os.environ["VIDEOALIGN_CACHE"] = str(cache)
    request = Request(f"{place}/{folder}")
    with opened([request]):
        return {f"{folder}/{name}": text.replace(f"{place}/", "") for name, text in contents(request.path).items()}


def differing(one: str | None, other: str | None) -> list[str]:
    """What stands in one text and not in the other, where both are there."""
    return sorted(set((one or "").split(", ")) ^ set((other or "").split(", ")))


def go(world: Path, scratch: Path, name: str, network: Network, rng: random.Random, rate: float, kills: int) -> str:
    """One command, on a disk and on the server.

    Raises:
        AssertionError: what it left there differs.
    """
    here, place = Path(shutil.copytree(world, scratch / "here")), f"s3://{BUCKET}/{name.replace(' ', '-')}"
    log = scratch / "log"

    def on_disk() -> int:
        os.chdir(here)
        return main(COMMANDS[name].split())

    def on_server() -> int:
        os.chdir(world)
        os.environ["VIDEOALIGN_CACHE"] = str(scratch / "cache")
        return main(at(place, COMMANDS[name]))

    def upload() -> int:
        import fsspec

        for folder in FOLDERS:
            if (world / folder).is_dir():
                fsspec.filesystem("s3").put(f"{world / folder}/", f"{place}/{folder}/", recursive=True)
        return 0

    def compare() -> int:
        want = contents(here)
        for folder in FOLDERS:
            if (here / folder).is_dir():
                found = made_at(place, folder, scratch / "cold")
                wanted = {key: text for key, text in want.items() if key.startswith(f"{folder}/")}
                differs = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
                if differs:
                    told = "\n".join(differing(found.get(differs[0]), wanted.get(differs[0])))
                    sys.stdout.write(f"{name}: these differ: {', '.join(differs)}\n{told}\n")
                    return 1
        return 0

    _, seconds = forked(on_disk, log)
    forked(upload, log)
    network.rate = rate
    hits = 0
    for _ in range(kills):
        ended, _ = forked(on_server, log, rng.uniform(0.3, 1.5 * seconds + 3))
        hits += not ended
    _, there = forked(on_server, log)
    network.rate = 0.0
    forked(compare, log)
    return f"{name}: equal to a folder on a disk; killed {hits} times; {seconds:.1f} s there, {there:.1f} s here"


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.1, help="share of requests that a fault meets")
    parser.add_argument("--kills", type=int, default=1, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(KILLED))
    options = parser.parse_args()
    os.environ |= KEYS
    lease.SETTLING_SECONDS, remote.FIRST_WAIT, remote.ATTEMPTS = 0.1, 0.05, 9
    build_app()
    gc.freeze()
    rng, started = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as place, s3_server(options.seed) as (address, network):
        use_server(address)
        world = Path(place) / "world"
        world.mkdir()
        (world / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
        forked(lambda: build_world(world, adapter="evaluate" in options.only), Path(place) / "log")
        for name in options.only:
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                told = go(world, Path(scratch), name, network, rng, options.rate, options.kills)
                sys.stdout.write(told + "\n")
                sys.stdout.flush()
        faults = ", ".join(f"{name} {number}" for name, number in sorted(network.met.items()))
        requests = sum(network.seen.values())
        sys.stdout.write(f"{requests} requests; faults: {faults or 'none'}; {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    run()
