"""How far work is: lines that a machine reads, true counts and rates, and the same for Prometheus."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from videoalign.cli import watching
from videoalign.cli.main import main
from videoalign.cli.watching import Count, progress, watch
from videoalign.errors import ConfigError, ServerError


@pytest.fixture(autouse=True)
def nobody_looks_after() -> Iterator[None]:
    yield
    watch("text", None)


def test_a_log_tells_begin_end_and_what_lies_between(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch("json", None)
    monkeypatch.setattr(watching, "SECONDS_BETWEEN", 0.0)
    with progress("encode", 10) as advance:
        advance(4)  # were there
        advance(2, rejected=1, read_seconds=3.0, work_seconds=0.5)
        advance(3, work_seconds=1.5)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["begin", "progress", "progress", "progress", "end"]
    end = lines[-1]
    counts = {"work": "encode", "done": 9, "made": 5, "total": 10, "rejected": 1}
    assert {name: end[name] for name in counts} == counts
    assert (end["read_seconds"], end["work_seconds"]) == (3.0, 2.0)


def test_rate_and_time_left_are_those_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock[0])
    count = Count("generate", 50)
    assert count.seconds_left is None
    clock[0] += 7
    count.add(30, 0, 0.0, 0.0)
    clock[0] += 10
    count.add(5, 0, 0.0, 9.0)
    assert (count.rate, count.seconds_left) == (0.5, 30.0)


def test_errors_stand_in_the_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--log", "json", "data", "stats", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "error" and "no dataset here" in json.loads(line)["text"]
    assert main(["--log", "xml", "data", "formats"]) == 2
    assert capsys.readouterr().err == "error: --log: got 'xml', wanted text or json.\n"


def test_metrics_are_served_while_the_work_goes_on() -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    watch("text", port)
    with progress("score clips", 8) as advance:
        advance(3, rejected=1, read_seconds=1.0, work_seconds=2.0)
        told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    for line in ("done", "total", "rejected", "work_seconds"):
        value = {"done": 3, "total": 8, "rejected": 1, "work_seconds": 2}[line]
        assert f'videoalign_work_{line}{{work="score clips"}} {value}.0\n' in told
    with pytest.raises(ServerError, match=f"--metrics-port: {port} cannot be had"):
        watch("text", port)
    with pytest.raises(ConfigError, match="--log"):
        watch("yaml", None)
