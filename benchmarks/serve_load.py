"""A reward server under load: how many requests it answers, how fast, and whether the scores are the library's.

Starts ``videoalign reward serve`` as a process and asks it from many clients at once, each over a connection of its own
and each as soon as it has its last answer. With ``--stop-after`` the server is told to stop in the middle, and the
clients go on until nobody takes their connection. Without ``--reward`` it is the tiny official checkpoint of the
reference data with its six clips. Exits 1 when a request was lost or a score is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from videoalign.contracts.output import write_json
from videoalign.models.videoreward import VideoReward

TOLERANCE = 1e-4
START_SECONDS = 120
PROMPTS = ("a red circle moves left", "a dog runs over wet sand", "two ships in the fog, seen from above")


@dataclass(frozen=True)
class Question:
    """A clip with its prompt, and what the library says about it."""

    clip: bytes
    prompt: str
    scores: dict[str, float]


@dataclass
class Tally:
    """What became of the requests."""

    sent: int = 0
    """Requests whose connection was made."""
    scored: int = 0
    """Answered with scores."""
    busy: int = 0
    """Answered with 'come back later'."""
    wrong: list[str] = field(default_factory=list)
    """Answers that are neither, or whose scores are not the library's."""
    lost: list[str] = field(default_factory=list)
    """Requests that got no answer."""
    not_connected: int = 0
    """Clients that found nobody listening, and stopped."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of the requests that were scored."""
    largest_difference: float = 0.0
    """Of a score from the library's."""

    def take(self, response: httpx.Response, question: Question, seconds: float) -> None:
        """Counts an answer."""
        if response.status_code == 429:
            self.busy += 1
            return
        if response.status_code != 200:
            self.wrong.append(f"{response.status_code}: {response.text[:200]}")
            return
        scores = response.json()["results"][0]["scores"]
        difference = max(abs(scores[name] - wanted) for name, wanted in question.scores.items())
        self.largest_difference = max(self.largest_difference, difference)
        if difference > TOLERANCE:
            self.wrong.append(f"{scores}, wanted {question.scores}")
        self.scored += 1
        self.latencies.append(seconds)


@contextmanager
def server(reward: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a server on a free port, and its address."""
    command = [sys.executable, "-m", "videoalign.cli.main", "reward", "serve", str(reward), "--port", "0", *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("http"):
                raise SystemExit(f"the server did not start: {line}")
            yield process, line.split()[0].rstrip(":")
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def ask_library(reward: Path, clips: Sequence[bytes]) -> list[Question]:
    """Every clip with its prompt and scores."""
    prompts = list(itertools.islice(itertools.cycle(PROMPTS), len(clips)))
    results = VideoReward.from_pretrained(reward).score(clips, prompts)
    if any(result.scores is None for result in results):
        raise SystemExit(f"the library cannot score them: {results}")
    rows = zip(clips, prompts, results, strict=True)
    return [Question(clip, prompt, result.scores or {}) for clip, prompt, result in rows]


async def load(url: str, questions: Sequence[Question], *, clients: int, seconds: float, tally: Tally) -> None:
    """Asks from that many clients until the time is over or nobody listens; 'busy' is asked again when it was told."""
    end = time.monotonic() + seconds

    async def run(number: int) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=300, verify=False) as client:  # it is plain HTTP
            for turn in itertools.count(number):
                if time.monotonic() >= end:
                    return
                question = questions[turn % len(questions)]
                begin = time.monotonic()
                tally.sent += 1
                try:
                    response = await client.post(
                        "/v1/score", files={"video": question.clip}, data={"prompt": question.prompt}
                    )
                except httpx.ConnectError:
                    tally.sent -= 1
                    tally.not_connected += 1
                    return
                except httpx.HTTPError as error:
                    tally.lost.append(repr(error))
                    return
                tally.take(response, question, time.monotonic() - begin)
                if response.status_code == 429:
                    await asyncio.sleep(float(response.headers["retry-after"]))

    await asyncio.gather(*(run(number) for number in range(clients)))


async def load_and_stop(
    process: subprocess.Popen[str], url: str, questions: Sequence[Question], *, clients: int, stop_after: float
) -> Tally:
    """As `load`, but the server gets SIGTERM after that many seconds and the clients go on until nobody listens."""
    tally = Tally()
    asking = asyncio.create_task(load(url, questions, clients=clients, seconds=600, tally=tally))
    await asyncio.sleep(stop_after)
    process.send_signal(signal.SIGTERM)
    await asking
    return tally


def batches(url: str) -> float:
    """Mean number of clips in one run of the model."""
    values = dict(line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if line[0] != "#")
    return float(values["videoalign_score_batch_clips_sum"]) / float(values["videoalign_score_batch_clips_count"])


def summary(tally: Tally, seconds: float) -> dict[str, Any]:
    """The figures of a run."""
    quantiles = np.quantile(tally.latencies, [0.5, 0.95, 0.99]) if tally.latencies else [float("nan")] * 3
    return {
        "seconds": round(seconds, 1),
        "sent": tally.sent,
        "scored": tally.scored,
        "busy": tally.busy,
        "lost": len(tally.lost),
        "wrong": len(tally.wrong),
        "largest_difference": tally.largest_difference,
        "clips_per_second": round(tally.scored / seconds, 2),
        **{f"p{p}_seconds": round(float(q), 3) for p, q in zip((50, 95, 99), quantiles, strict=True)},
    }


def tiny_official(folder: Path) -> tuple[Path, Path]:
    """The reward and the clips of the reference data, where it is at hand.

    Raises:
        SystemExit: it is not; the status is 0, as nothing went wrong.
    """
    from scoring import SHARED, tiny_reward

    if not SHARED.is_dir():
        print(f"left out, no reference data in {SHARED}; set VIDEOALIGN_SHARED, or give --reward and --clips")
        raise SystemExit(0)
    tiny_reward().save_pretrained(folder / "reward")
    return folder / "reward", SHARED / "data" / "videoalign_pairs"


def measure(options: argparse.Namespace, reward: Path, clips: Path) -> tuple[Tally, dict[str, Any]]:
    """One run: what the clients saw, and its figures."""
    questions = ask_library(reward, [file.read_bytes() for file in sorted(clips.glob("*.mp4"))])
    with server(reward, *options.settings) as (process, url):
        begin, figures = time.monotonic(), {}
        if options.stop_after is None:
            tally = Tally()
            asyncio.run(load(url, questions, clients=options.clients, seconds=options.seconds, tally=tally))
            figures["clips_per_batch"] = round(batches(url), 2)
        else:
            tally = asyncio.run(
                load_and_stop(process, url, questions, clients=options.clients, stop_after=options.stop_after)
            )
            figures["exit_code"] = process.wait(START_SECONDS)
        return tally, {**summary(tally, time.monotonic() - begin), **figures}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reward", type=Path, help="reward folder")
    parser.add_argument("--clips", type=Path, help="folder of mp4 files")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--stop-after", type=float, help="send SIGTERM after so many seconds")
    parser.add_argument("--out", type=Path, help="where the JSON file goes")
    parser.add_argument("settings", nargs="*", help="key=value of the server")
    options = parser.parse_intermixed_args()
    if (options.reward is None) != (options.clips is None):
        parser.error("--reward and --clips go together")
    with TemporaryDirectory() as folder:
        reward, clips = (options.reward, options.clips) if options.reward else tiny_official(Path(folder))
        tally, figures = measure(options, reward, clips)
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        write_json(options.out, figures)
    for problem in [*tally.lost, *tally.wrong][:10]:
        print(problem, file=sys.stderr)
    return 1 if tally.lost or tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
