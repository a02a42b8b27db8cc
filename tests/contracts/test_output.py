from __future__ import annotations

import builtins
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from videoalign.contracts.output import claim_folder, fingerprint, whole_file, whole_folder, write_json
from videoalign.errors import OutputError


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """After ``start(n)`` the n-th write to a text file and all that follow fail as on a full disk."""

    def start(good_writes: int) -> None:
        real_open, left = io.open, [good_writes]

        def open_on_full_disk(*args, **kwargs):
            file = real_open(*args, **kwargs)
            real_write = file.write

            def write(text):
                if left[0] <= 0:
                    real_write(text[: len(text) // 2])
                    file.flush()
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                left[0] -= 1
                return real_write(text)

            if "w" in file.mode:
                monkeypatch.setattr(file, "write", write, raising=False)
            return file

        monkeypatch.setattr(io, "open", open_on_full_disk)
        monkeypatch.setattr(builtins, "open", open_on_full_disk)

    return start


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "deep" / "a.txt") as aside:
        aside.write_text("half ")
        assert not (tmp_path / "deep" / "a.txt").exists()
        aside.write_text("whole")
    assert listing(tmp_path) == ["deep", "deep/a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"


def test_the_part_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with whole_file(tmp_path / "clip.mp4") as aside:
        assert aside.suffix == ".mp4"
        assert aside.parent == tmp_path
        aside.write_bytes(b"x")


def test_a_block_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write_half() -> None:
        with whole_file(tmp_path / "a.txt") as aside:
            aside.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert listing(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_full_disk_leaves_no_file_and_says_so_in_one_line(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(0)
    with pytest.raises(OutputError, match="the disk is full; nothing was written") as caught:
        write_json(tmp_path / "results.json", {"a": list(range(100))})
    assert listing(tmp_path) == []
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "results.json") in str(caught.value)


def test_a_full_disk_leaves_the_old_folder_as_it_was(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    written = []

    def fill() -> None:
        with whole_folder(tmp_path / "out") as aside:
            for name in ("first.txt", "second.txt"):
                (aside / name).write_text("content")
                written.append(name)

    full_disk(1)
    with pytest.raises(OutputError, match="the disk is full"):
        fill()
    assert written == ["first.txt"]
    assert listing(tmp_path) == ["out", "out/old.txt"]


@pytest.mark.parametrize("out", ["x" * 300 + ".json", "file/x.json", "file/deep/x.json", "folder", "/proc/x.json"])
def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written \(.*\)\. Choose another place\."):
        write_json(tmp_path / out, {})
    assert listing(tmp_path) == ["file", "folder"]


def test_an_error_of_what_is_read_for_an_output_passes(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing.txt", tmp_path / "in" / "missing.txt"):
        with pytest.raises(OSError, match="missing.txt") as caught, whole_file(tmp_path / "out.txt"):
            wrong.read_text()
        assert not isinstance(caught.value, OutputError)


def test_a_full_disk_leaves_no_claim_on_a_folder(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    full_disk(0)
    with pytest.raises(OutputError, match="the disk is full"):
        claim_folder(tmp_path / "run", {"seed": 0})
    assert [name for name in listing(tmp_path) if name != "run"] == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch, number: int) -> None:
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"a\.json: cannot be written"):
        write_json(tmp_path / "a.json", {})
    assert listing(tmp_path) == []


def test_another_os_error_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    assert listing(tmp_path) == []


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with whole_folder(tmp_path / "out") as aside:
            (aside / f"{name}.txt").write_text(name)
    assert listing(tmp_path) == ["out", "out/second.txt"]


def test_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"rate": float("nan")})
    assert listing(tmp_path) == []


def test_a_run_comes_back_to_its_own_folder(tmp_path: Path) -> None:
    out = claim_folder(tmp_path / "run", {"seed": 0, "shape": (1, 2), "path": Path("a")})
    (out / "done.txt").write_text("stage 1")
    assert claim_folder(out, {"path": Path("a"), "seed": 0, "shape": [1, 2]}) == out
    assert listing(out) == ["done.txt", "run.json"]


def test_a_difference_inside_a_group_is_named_in_full(tmp_path: Path) -> None:
    model = {"name": "m", "scheduler": {"shift": 1.0}, "fps": 8}
    claim_folder(tmp_path / "run", {"seed": 0, "model": model})
    with pytest.raises(OutputError, match=r"\(differs in model\): model.fps, model.scheduler.shift; give another"):
        claim_folder(tmp_path / "run", {"seed": 0, "model": {**model, "scheduler": {"shift": 2.0}, "fps": 9}})


def test_another_runs_folder_is_refused_with_what_differs(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", {"seed": 0, "steps": 5, "old": 1})
    with pytest.raises(OutputError, match=r"belongs to another run \(differs in new, old, seed\)") as caught:
        claim_folder(tmp_path / "run", {"seed": 1, "steps": 5, "new": 1})
    assert "seed);" in str(caught.value)
    assert "fresh" not in str(caught.value), "an error recommends nothing that destroys"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seed"] == 0


def test_fresh_empties_a_run_but_never_a_folder_of_somebody_elses(tmp_path: Path) -> None:
    out = claim_folder(tmp_path / "run", {"seed": 0})
    (out / "old.txt").write_text("x")
    claim_folder(out, {"seed": 1}, fresh=True)
    assert listing(out) == ["run.json"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="holds files that are no run"):
        claim_folder(tmp_path / "photos", {"seed": 0}, fresh=True)
    assert listing(tmp_path / "photos") == ["me.jpg"]


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file; give a folder"):
        claim_folder(tmp_path / "out", {})


def test_fingerprint_depends_on_content_and_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint([])) == 16


@pytest.mark.parametrize(
    "file",
    ["annotate.sqlite", "annotate.sqlite-wal", "annotate.json", "annotations.parquet", "judgements.parquet",
     "ratings.parquet", "deep/down/annotate.sqlite", "deep/down/judgements.parquet"],
)  # fmt: skip
def test_a_folder_with_what_people_said_is_neither_emptied_nor_replaced(tmp_path: Path, file: str) -> None:
    out = claim_folder(tmp_path / "run", {"seed": 0})
    (out / file).parent.mkdir(parents=True, exist_ok=True)
    (out / file).write_bytes(b"x")
    before = listing(tmp_path)
    with pytest.raises(OutputError, match=r"give another folder, or move this one away\.$") as caught:
        claim_folder(out, {"seed": 1}, fresh=True)
    assert str(out / file) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="move this one away"), whole_folder(out):
        raise AssertionError("nothing is made for a folder that may not be replaced")
    assert claim_folder(out, {"seed": 0}) == out
    assert listing(tmp_path) == before


def test_a_folder_whose_programme_is_beside_it_is_not_replaced(tmp_path: Path) -> None:
    out = claim_folder(tmp_path / "run", {"seed": 0})
    (tmp_path / "run.annotations").mkdir()
    (tmp_path / "run.annotations" / "annotate.sqlite").write_bytes(b"x")
    with pytest.raises(OutputError, match="move this one away"):
        claim_folder(out, {"seed": 1}, fresh=True)
    assert (out / "run.json").is_file()


def test_what_people_say_while_the_new_folder_is_made_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    def make() -> None:
        with whole_folder(tmp_path / "out") as aside:
            (aside / "new.txt").write_text("new")
            (tmp_path / "out" / "annotate.json").write_text("{}")

    with pytest.raises(OutputError, match="move this one away"):
        make()
    assert listing(tmp_path) == ["out", "out/annotate.json"]


def test_an_empty_folder_is_filled_so_that_whoever_stands_in_it_sees_what_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_folder(".") as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "a.txt").write_text("whole")
        assert os.listdir(".") == []
    assert os.listdir(".") == ["deep"]
    assert [one.name for one in tmp_path.parent.iterdir() if one.name.endswith(".part")] == []


def test_an_empty_folder_that_nobody_stands_in_is_replaced_in_one_move(tmp_path: Path) -> None:
    """Moved file by file, a kill between two would leave a half of them."""
    empty = tmp_path / "out"
    empty.mkdir()
    with whole_folder(empty) as aside:
        (aside / "a.txt").write_text("whole")
        made = aside.stat().st_ino
    assert empty.stat().st_ino == made
    assert listing(tmp_path) == ["out", "out/a.txt"]


def test_a_link_to_a_folder_stays_one_when_the_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old.txt").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_folder(tmp_path / "link") as aside:
        (aside / "new.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert listing(tmp_path) == ["link", "real", "real/new.txt"]


def test_a_link_that_leads_nowhere_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with (
        pytest.raises(OutputError, match="link is a link to .*gone, which is not there"),
        whole_folder(tmp_path / "link"),
    ):
        raise AssertionError
    assert listing(tmp_path) == ["link"]
