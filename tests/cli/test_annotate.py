"""``videoalign annotate serve`` refuses in one line, and says how to come in when it starts."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database, address


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One prompt with two clips, without their files."""
    shape = {"prompt_id": "p", "fps": 8.0, "num_frames": 8, "height": 16, "width": 16}
    clips = [Clip(clip_id=name, path=f"clips/{name}.mp4", **shape) for name in ("a", "b")]
    Dataset.create(tmp_path / "d", DatasetInfo()).add(prompts=[Prompt(prompt_id="p", text="a dog")], clips=clips)
    return tmp_path / "d"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["annotate", "serve", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_served_is_refused_in_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no dataset here" in refused(capsys, tmp_path, "--port", 0)
    assert "unknown setting 'lease'" in refused(capsys, dataset, "lease=3")
    assert "--db" in refused(capsys, dataset, "--port", 0, "--db", "mysql://x/y")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot be listened on" in refused(capsys, dataset, "--port", taken.getsockname()[1])
    Dataset.open(dataset).write_clips(Dataset.open(dataset).clips()[:1])
    assert "no pair to judge" in refused(capsys, dataset, "--port", 0)
    assert sorted(file.name for file in dataset.parent.iterdir()) == ["d"], "no database for what cannot be judged"
    assert not (dataset / "annotate.json").exists()


def test_a_database_that_cannot_be_used_is_refused_in_one_line_and_left_as_it_is(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.sqlite"
    url = f"sqlite:///{file}"
    store = Database(url)
    store.close()
    sound = file.read_bytes()
    file.write_bytes(sound[:8192] + b"\xff" * 8192 + sound[16384:])
    damaged = file.read_bytes()
    assert "--db: " in refused(capsys, dataset, "--port", 0, "--db", url)
    assert file.read_bytes() == damaged
    file.write_bytes(sound)
    monkeypatch.setattr("videoalign.web.annotate.storage.database.BUSY_SECONDS", 0.1)
    with sqlite3.connect(file) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in refused(capsys, dataset, "--port", 0, "--db", url)
    with sqlite3.connect(file) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "of a later version" in refused(capsys, dataset, "--port", 0, "--db", url)
    assert main(["annotate", "export", str(dataset), "--db", url]) == 2
    assert "of a later version" in capsys.readouterr().err


def test_export_writes_what_a_served_programme_holds_and_refuses_where_there_was_none(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", "export", str(dataset)]) == 2
    assert "no programme was served here" in capsys.readouterr().err
    assert not dataset.with_name("d.annotations").exists()
    Database(address(dataset, None)).close()
    assert main(["annotate", "export", str(dataset)]) == 2
    assert "no programme was served here" in capsys.readouterr().err
    store = Database(address(dataset, None))
    open_at(store, Library(dataset), AnnotateSettings())
    store.close()
    for _ in range(2):
        assert main(["annotate", "export", str(dataset), "raters_per_pair=2"]) == 0
        assert "0 judgements of this programme" in capsys.readouterr().out
    assert main(["annotate", "export", str(dataset), "--db", "postgresql://nobody@127.0.0.1:1/none"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_it_prints_its_address_and_a_link_and_ends_with_zero_when_told_to_stop(dataset: Path) -> None:
    command = [sys.executable, "-m", "videoalign.cli.main", "annotate", "serve", str(dataset), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first, second, third = (process.stdout.readline() for _ in range(3))
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+: 1 pairs\n", first)
    assert re.fullmatch(r"admin link, for one use: http://127\.0\.0\.1:\d+/join/[\w-]{43}\n", second)
    assert third == f"database: {dataset.with_name('d.annotations')}/annotate.sqlite\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == 0
    notes = process.communicate()[1].splitlines()
    assert [re.sub(r"'.'.*/", "", line) for line in notes] == [
        f"note: shown, but: clip {n}.mp4 is not there." for n in "ab"
    ]
