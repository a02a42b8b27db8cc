"""A rating programme under load: raters who judge without pause, and perhaps a server that is killed meanwhile.

Starts ``videoalign annotate serve`` as a process on a dataset without clip files, lets many raters judge pair after
pair over HTTP, each after a short time to think, and then reads the database: every verdict that was acknowledged must
be there, none twice, no pair with more raters than it wants. With ``--kills`` the server is killed with SIGKILL that
many times and started again, and the raters send what was not acknowledged once more. Exits 1 when a law is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import psutil
from postgres import postgres_server
from sqlalchemy import create_engine, text

from videoalign.contracts.output import write_json
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset

START_SECONDS = 120
MOST_SECONDS = 60
"""Of waiting for verdicts on a busy machine."""


@dataclass
class Tally:
    """What the raters saw."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Assignment -> the verdict that was accepted."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from sending a verdict to having the next pair, where it was answered at once."""
    again: int = 0
    """Requests that had to be sent once more."""
    refused: Counter[str] = field(default_factory=Counter)
    """Other answers, by their code."""
    finished: int = 0
    """Raters for whom no pair was left."""
    end: float = 0.0
    """When the raters stop, on the monotonic clock; every restart of the server puts it off by as long as it took."""


class Server:
    """The process; it can be killed and started again on its port."""

    def __init__(self, folder: Path, db: str | None, settings: list[str]) -> None:
        self.command = [sys.executable, "-m", "videoalign.cli.main", "annotate", "serve", str(folder), *settings]
        self.command += ["--db", db] if db is not None else []
        self.log = folder / "server.log"
        self.port, self.address, self.admin_link = 0, "", ""

    def start(self) -> float:
        """Starts it; returns the seconds until it listened."""
        begin = time.perf_counter()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self.command, "--port", str(self.port)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        first, second = self.process.stdout.readline(), self.process.stdout.readline()
        if "http" not in second:
            raise RuntimeError(f"the server did not start; see {self.log}:\n{self.log.read_text()[-2000:]}")
        self.address = first.rpartition(": ")[0]
        self.port = int(self.address.rpartition(":")[2])
        self.admin_link = second.rpartition(" ")[2].strip()
        return time.perf_counter() - begin

    def cpu_seconds(self) -> float:
        """What the process has used of the processors since it started."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def end(self, how: signal.Signals) -> int:
        """Sends a signal and waits for the end."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


def make_dataset(folder: Path, num_prompts: int, num_clips: int) -> None:
    prompts = [Prompt(prompt_id=f"p{p}", text=f"prompt {p}") for p in range(num_prompts)]
    clips = [
        Clip(
            clip_id=f"c{p}-{k}",
            prompt_id=f"p{p}",
            path=f"clips/c{p}-{k}.mp4",
            generator=f"g{k}",
            fps=8.0,
            num_frames=16,
            height=64,
            width=64,
        )
        for p in range(num_prompts)
        for k in range(num_clips)
    ]
    Dataset.create(folder, DatasetInfo()).add(prompts=prompts, clips=clips)


async def sign_in(address: str, link: str) -> dict[str, str]:
    """Headers of somebody who followed a link."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(link)
        ((name, token),) = answer.cookies.items()
    return {
        "cookie": f"{name}={token}",
        "x-csrf-token": hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest(),
    }


async def invite(server: Server, count: int) -> list[dict[str, str]]:
    """Signed-in raters, as the headers of their requests."""
    admin = await sign_in(server.address, server.admin_link)
    raters = []
    async with httpx.AsyncClient(base_url=server.address, headers=admin, timeout=60) as client:
        for number in range(count):
            body = {"role": "rater", "name": f"rater {number}"}
            made = (await client.post("/api/admin/invitations", json=body)).json()
            raters.append(await sign_in(server.address, made["link"]))
    return raters


async def ask(client: aiohttp.ClientSession, tally: Tally, method: str, path: str, body: Any) -> Any:
    """Code, content and seconds of an answer, asking again while the server is away; None as the code where it is
    still away a minute after the end."""
    while True:
        begin = time.perf_counter()
        try:
            async with client.request(method, path, json=body) as answer:
                if answer.status < 500:
                    return answer.status, await answer.json(), time.perf_counter() - begin
        except (aiohttp.ClientError, TimeoutError):
            pass
        if time.monotonic() > tally.end + 60:
            return None, None, 0.0
        tally.again += 1
        await asyncio.sleep(0.2)


async def rate(server: Server, headers: dict[str, str], tally: Tally, think: float, seed: int) -> None:
    """One rater until the end."""
    rng = np.random.default_rng(seed)
    async with aiohttp.ClientSession(
        server.address, headers=headers, timeout=aiohttp.ClientTimeout(30), cookie_jar=aiohttp.DummyCookieJar()
    ) as client:
        await asyncio.sleep(rng.uniform(0, 2 * think))
        _, turn, _ = await ask(client, tally, "GET", "/api/next", None)
        while time.monotonic() < tally.end:
            assignment = turn["assignment"]
            if assignment is None:
                tally.finished += 1
                return
            await asyncio.sleep(rng.uniform(0.5, 1.5) * think)
            verdicts = {one["name"]: str(rng.choice(["left", "tie", "right"])) for one in assignment["dimensions"]}
            watched = {"left": 2.0, "right": 2.0}
            body = {"assignment": assignment["id"], "verdicts": verdicts, "watched_seconds": watched}
            again = tally.again
            code, answer, seconds = await ask(client, tally, "POST", "/api/judgements", body)
            if code == 200:
                tally.acknowledged[assignment["id"]] = json.dumps(verdicts, sort_keys=True)
                if tally.again == again:
                    tally.latencies.append(seconds)
                turn = answer["next"]
            else:
                tally.refused["away" if code is None else answer["error"]["code"]] += 1
                _, turn, _ = await ask(client, tally, "GET", "/api/next", None)


async def work_a_while(tally: Tally, seconds: float, verdicts: int) -> None:
    """So many seconds, and on a busy machine until so many more verdicts were acknowledged; the end moves with it."""
    wanted, begin = len(tally.acknowledged) + verdicts, time.monotonic()
    tally.end += MOST_SECONDS
    while (worked := time.monotonic() - begin) < seconds or (
        worked < MOST_SECONDS and len(tally.acknowledged) < wanted and not tally.finished
    ):
        await asyncio.sleep(0.02)
    tally.end += max(0.0, worked - seconds) - MOST_SECONDS


async def kill_often(server: Server, tally: Tally, options: argparse.Namespace) -> list[float]:
    """Kills the server after even spells of work; returns how long each start took."""
    starts = []
    for _ in range(options.kills):
        await work_a_while(tally, options.seconds / (options.kills + 1), options.raters)
        server.end(signal.SIGKILL)
        tally.end += START_SECONDS
        starts.append(await asyncio.to_thread(server.start))
        tally.end += starts[-1] - START_SECONDS
    return starts


async def load(server: Server, options: argparse.Namespace) -> tuple[Tally, list[float]]:
    raters = await invite(server, options.raters)
    tally = Tally(end=time.monotonic() + options.seconds)
    working = [rate(server, headers, tally, options.think, number) for number, headers in enumerate(raters)]
    starts, *_ = await asyncio.gather(kill_often(server, tally, options), *working)
    return tally, starts


def broken_laws(db: str, tally: Tally, raters_per_pair: int) -> dict[str, int]:
    """What the database says against what the raters were told; every count should be 0."""
    engine = create_engine(db.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        live = connection.execute(
            text(
                "SELECT j.assignment_id, j.verdicts, a.pair_id, a.person_id, a.round, a.kind, a.swapped "
                "FROM judgements j JOIN assignments a ON a.id = j.assignment_id WHERE j.withdrawn_at IS NULL"
            )
        ).all()
        pairs = connection.execute(text("SELECT id, taken, judged, state FROM pairs")).all()
        leased = connection.execute(
            text(
                "SELECT pair_id, count(*) FROM assignments WHERE state = 'leased' AND kind = 'rating' GROUP BY pair_id"
            )
        ).all()
    engine.dispose()
    stored = {row.assignment_id: _as_shown(row.verdicts, row.swapped) for row in live}
    judged = Counter(row.pair_id for row in live if row.kind == "rating")
    holding = dict(leased)
    return {
        "lost": sum(assignment not in stored for assignment in tally.acknowledged),
        "changed": sum(stored.get(key, verdicts) != verdicts for key, verdicts in tally.acknowledged.items()),
        "doubled": len(live) - len(stored),
        "given_twice": len(live) - len({(row.pair_id, row.person_id, row.round) for row in live}),
        "over_assigned": sum(judged[row.id] + holding.get(row.id, 0) > raters_per_pair for row in pairs),
        "miscounted": sum(
            (row.judged, row.taken) != (judged[row.id], judged[row.id] + holding.get(row.id, 0)) for row in pairs
        ),
    }


def _as_shown(verdicts: Any, swapped: Any) -> str:
    names = {"A": "right", "B": "left"} if swapped else {"A": "left", "B": "right"}
    labels = json.loads(verdicts) if isinstance(verdicts, str) else verdicts
    return json.dumps({name: names.get(label, label) for name, label in labels.items()}, sort_keys=True)


def measure(options: argparse.Namespace, database: str) -> dict[str, Any]:
    """One run on one database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        make_dataset(folder / "d", options.prompts, options.clips)
        db = None
        if database == "postgresql":
            postgres = stack.enter_context(postgres_server())
            if postgres is None:
                return {"skipped": "PostgreSQL is not installed"}
            db = postgres.create("annotate")
        settings = ["min_watch=0", "qualification_pairs=0", "seed=0", f"raters_per_pair={options.per_pair}"]
        server = Server(folder / "d", db, settings)
        server.start()
        try:
            idle = server.cpu_seconds()
            tally, starts = asyncio.run(load(server, options))
            busy = server.cpu_seconds() - idle
        finally:
            code = server.end(signal.SIGTERM)
        laws = broken_laws(db or f"sqlite:///{folder}/d.annotations/annotate.sqlite", tally, options.per_pair)
        exported = {row.source_row.rpartition(":")[2] for row in Dataset.open(folder / "d").judgements()}
        laws["not_exported"] = len(tally.acknowledged.keys() - exported)
    milliseconds = np.array(tally.latencies) * 1000  # none, where every answer had to be asked for again
    return {
        "raters": options.raters,
        "seconds": options.seconds,
        "judgements": len(tally.acknowledged),
        "per_second": len(tally.acknowledged) / options.seconds,
        **{f"p{q}_ms": float(np.percentile(milliseconds, q)) if len(milliseconds) else None for q in (50, 95, 99, 100)},
        "cpu_ms_per_judgement": 1000 * busy / max(1, len(tally.acknowledged)) if not options.kills else None,
        "sent_again": tally.again,
        "refused": dict(tally.refused),
        "finished": tally.finished,
        "kills": options.kills,
        "slowest_start_s": max(starts, default=0.0),
        "exit_code": code,
        **laws,
    }


LAWS = ("lost", "changed", "doubled", "given_twice", "over_assigned", "miscounted", "not_exported", "exit_code")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--raters", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--think", type=float, default=2.0, help="mean seconds between a pair and its verdict")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=3, help="of each prompt")
    parser.add_argument("--per-pair", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {database: measure(options, database) for database in options.db}
    print(json.dumps(results, indent=2))
    if options.out is not None:
        write_json(options.out, results)
    return int(any(result.get(law, 0) for result in results.values() for law in LAWS))


if __name__ == "__main__":
    sys.exit(main())
