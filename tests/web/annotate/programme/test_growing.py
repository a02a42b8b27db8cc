"""A dataset grows while a server runs on it: what is added is judged, what was judged stays as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.web.annotate.conftest import Person
from videoalign.cli.main import main
from videoalign.data.dataset import Dataset

PLAIN = ("min_watch=0", "gold_share=0", "repeat_share=0", "raters_per_pair=1")
DEADLINE_SECONDS = 60.0


@contextmanager
def served(folder: Path, *settings: str) -> Iterator[Person]:
    """A server in a process of its own, and a rater of it; it ends with 0."""
    command = [sys.executable, "-m", "videoalign.cli.main", "annotate", "serve", str(folder), "--port", "0", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address, link = process.stdout.readline().rpartition(": ")[0], process.stdout.readline().rpartition(" ")[2]
        with httpx.Client(base_url=address, timeout=60) as owner, httpx.Client(base_url=address, timeout=60) as client:
            made = Person(owner, link.strip()).http.post("/api/admin/invitations", json={"role": "rater", "name": "R"})
            yield Person(client, made.json()["link"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_SECONDS) == 0
        process.stdout.close()


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def table(folder: Path, make_clip: Callable[..., Path], prompt: str, tint: int) -> Path:
    """A table of one verdict on two clips of a prompt."""
    for number in range(2):
        make_clip(folder / f"{number}.mp4", tint=tint + 10 * number)
    (folder / "t.csv").write_text(f"clip_a,clip_b,prompt,rater,VQ\n0.mp4,1.mp4,{prompt},mina,A\n", encoding="utf-8")
    return folder / "t.csv"


def test_what_is_imported_or_merged_into_a_served_dataset_is_judged_and_nothing_is_lost(
    tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    one, two, three = (table(tmp_path / name, make_clip, name, 40 * k) for k, name in enumerate("abc"))
    folder, other = tmp_path / "d", tmp_path / "other"
    assert main(["data", "import", "pairs", str(one), "--out", str(folder)]) == 0
    assert main(["data", "import", "pairs", str(three), "--out", str(other)]) == 0
    dataset = Dataset.open(folder)
    imported = dataset.judgements()
    with served(folder, *PLAIN) as rater:
        side = rater.next()["assignment"]["left"]["url"]
        assert rater.judge_all("both_bad") == 1
        assert main(["data", "import", "pairs", str(two), "--out", str(folder), "--add"]) == 0
        wait_for(lambda: rater.next()["assignment"])
        assert rater.next()["assignment"]["prompt"] == "b"
        assert rater.judge_all("tie") == 1
        assert main(["data", "merge", str(other), "--into", str(folder)]) == 0
        wait_for(lambda: rater.next()["assignment"])
        assert rater.judge_all("left") == 1
    rows = dataset.judgements()
    assert [row.rater for row in rows] == ["mina"] * 3 + ["rater-2"] * 3
    assert rows[0] == imported[0]
    assert rows[3].source_row.rpartition(":")[2] in side, "under the number that it was given out by"
    assert [row.label for row in rows[3:]] == ["both_bad", "tie", rows[5].left]
    assert [prompt.text for prompt in dataset.prompts()] == ["a", "b", "c"]
