"""One run at a time in a folder; the second is told who is there, and what a killed run left is taken over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videoalign.contracts import holding
from videoalign.contracts.holding import held, hold_folder, holder_of, is_alive
from videoalign.contracts.output import HOLDER_FILE, LOCK_FILE, claim_folder
from videoalign.errors import OutputError

STAYS = """
import sys, time
from videoalign.contracts.holding import hold_folder
with hold_folder(sys.argv[1]):
    print("in", flush=True)
    time.sleep(60)
"""

HELPED = """
import multiprocessing, time
from videoalign.contracts.holding import end_with_parent
def help():
    end_with_parent()
    time.sleep(60)
if __name__ == "__main__":
    helper = multiprocessing.get_context("spawn").Process(target=help)
    helper.start()
    print(helper.pid, flush=True)
    helper.join()
"""

RACES = """
import sys, os, time
from pathlib import Path
from videoalign.contracts.holding import hold_folder
from videoalign.errors import OutputError
out, inside = Path(sys.argv[1]), Path(sys.argv[2])
won = refused = 0
print("ready", flush=True)
sys.stdin.readline()
while won < 8 or won + refused < 100:
    try:
        with hold_folder(out):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another one is in
            won += 1
            if won == 5 and len(sys.argv) > 3:
                inside.unlink()
                os.kill(os.getpid(), 9)
            inside.unlink()
    except OutputError as error:
        assert "is in use by another run" in str(error), error
        refused += 1
        time.sleep(0.002)
print(won, refused, flush=True)
"""


def start(code: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_second_run_is_refused_with_host_process_and_start_until_the_first_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(STAYS, out)
    assert first.stdout is not None and first.stdout.readline() == "in\n"
    told = rf"process {first.pid} on {socket.gethostname()}, started {time.strftime('%Y-')}"
    with pytest.raises(OutputError, match=told), hold_folder(out):
        pass
    holder = holder_of(out)
    assert holder is not None and (holder.host, holder.process) == (socket.gethostname(), first.pid)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (out / LOCK_FILE).exists(), "a killed run leaves its mark"
    assert holder_of(out) is None
    with hold_folder(out):
        assert claim_folder(out, {"a": 1}) == out
        (out / "made").touch()
        assert claim_folder(out, {"a": 2}, fresh=True) == out
        assert not (out / "made").exists()
    assert [file.name for file in out.iterdir()] == ["run.json"]


def test_races_and_kills_never_let_two_in(tmp_path: Path) -> None:
    out, inside = tmp_path / "out", tmp_path / "inside"
    racers = [start(RACES, out, inside), start(RACES, out, inside), start(RACES, out, inside, "dies")]
    for one in racers:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in racers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    ends = [one.communicate(timeout=100) for one in racers[::-1]][
        ::-1
    ]  # a dead one that nobody waited for counts as there
    assert [one.returncode for one in racers] == [0, 0, -signal.SIGKILL], ends
    for won, refused in (map(int, told.split()) for told, _ in ends[:2]):
        assert won + refused >= 100 and won >= 8
    with hold_folder(out):
        pass


def other_machine(out: Path, age: float) -> None:
    """A mark as of a run on another machine, last heard of so long ago."""
    with hold_folder(out):
        text = (out / LOCK_FILE).read_text()
        told = (out / HOLDER_FILE).read_text()
    out.mkdir(exist_ok=True)
    here = socket.gethostname()
    assert here in text
    (out / LOCK_FILE).write_text(
        "\n".join(
            "elsewhere" if here in line and "=" not in line else line.replace(here, "elsewhere")
            for line in text.split("\n")
        )
    )
    (out / HOLDER_FILE).write_text(told.replace(here, "elsewhere"))
    os.utime(out / LOCK_FILE, (time.time() - age,) * 2)


def test_a_run_on_another_machine_counts_until_it_was_not_heard_of_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LEASE_SECONDS", 0.5)
    out = tmp_path / "out"
    other_machine(out, age=0.0)
    with pytest.raises(OutputError, match="on elsewhere, started"), hold_folder(out):
        pass
    time.sleep(0.6)
    assert holder_of(out) is None
    with hold_folder(out):
        assert json.loads((out / HOLDER_FILE).read_text())["host"] == socket.gethostname()


def test_nothing_is_left_of_a_run_that_made_nothing_and_a_file_is_no_folder(tmp_path: Path) -> None:
    @held
    def refused(value: int, out: Path | None = None) -> int:
        if value < -1 and out is not None:
            claim_folder(out, {"value": value})
        if value < -2 and out is not None:
            (out / "log").touch()
        if value < 0:
            raise OutputError("no")
        return value

    for value in (-1, -2):
        with pytest.raises(OutputError, match="no"):
            refused(value, tmp_path / "a" / "b")
        assert list(tmp_path.iterdir()) == []
    for value in (-3, -2):  # what is somebody's stays his
        with pytest.raises(OutputError, match="no|another run"):
            refused(value, tmp_path / "d")
        assert {one.name for one in (tmp_path / "d").iterdir()} == {"run.json", "log"}
    assert refused(3) == refused(3, out=tmp_path / "c") == 3
    (tmp_path / "file").touch()
    assert refused(4, tmp_path / "file") == 4


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_helps_a_run_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "helped.py"
    script.write_text(HELPED)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        helper = int(run.stdout.readline())
        time.sleep(0.3)
        assert is_alive(helper)
        run.send_signal(how)
    end = time.monotonic() + 60
    while is_alive(helper):
        assert time.monotonic() < end
        time.sleep(0.02)
