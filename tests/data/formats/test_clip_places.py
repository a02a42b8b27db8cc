"""Where clips of a table are, what stands for each, and that no two of them become one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.tables import write_table
from videoalign.data.dataset import Dataset, prompt_id_of
from videoalign.data.formats import builder, clips, import_data
from videoalign.errors import DataError


def row(a: str, b: str, label: str = "A", **more: Any) -> dict[str, Any]:
    return {"clip_a": a, "clip_b": b, "prompt": "a red kite", "VQ": label, **more}


def test_clips_of_one_stem_stay_two(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    names = ["v7978/0.mp4", "v21676/0.mp4", "other.mp4"]  # the first two once shared an id of 32 bits
    for number, name in enumerate(names):
        make_clip(tmp_path / name, num_frames=number + 3)
    source = write_table(tmp_path / "t.csv", [row(names[0], names[2]), row(names[1], names[2], "B")])
    assert import_data("pairs", source, tmp_path / "d").clips == 3
    frames = {clip.clip_id: clip.num_frames for clip in Dataset.open(tmp_path / "d").clips()}
    said = [(frames[one.clip_a], frames[one.clip_b], one.label) for one in Dataset.open(tmp_path / "d").judgements()]
    assert said == [(3, 5, "A"), (4, 5, "B")]
    assert {len(clip_id.rpartition("-")[2]) for clip_id in frames} == {16}
    assert len(prompt_id_of("a red kite")) == len("p-") + 16


def test_an_id_that_stands_for_two_is_an_error_that_names_both(
    tmp_path: Path, six_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "fingerprint", lambda value: "0" * 16)
    clips._clip_id.cache_clear()
    source = write_table(six_clips / "t.csv", [row("c0.mp4", "c1.mp4"), row("x/c0.mp4", "c1.mp4")])
    (six_clips / "x").mkdir()
    (six_clips / "c2.mp4").rename(six_clips / "x" / "c0.mp4")
    with pytest.raises(DataError, match=r"t\.csv:3: x/c0\.mp4 and c0\.mp4 get the same clip id"):
        import_data("pairs", source, tmp_path / "d")
    clips._clip_id.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(builder, "_prompt_id_of", lambda text: "p-0")
    source = write_table(six_clips / "t.csv", [row("c0.mp4", "c1.mp4"), row("c3.mp4", "c1.mp4", prompt="a dog")])
    with pytest.raises(DataError, match=r"t\.csv:3: 'a dog' and 'a red kite' get the same prompt id"):
        import_data("pairs", source, tmp_path / "d")


def test_one_file_is_one_clip_however_it_is_written(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "sub").mkdir()
    (tmp_path / "link").symlink_to(six_clips)
    ways = ["c0.mp4", "./c0.mp4", "sub/../c0.mp4", ".\\sub\\..\\c0.mp4", str(six_clips / "c0.mp4"),
            (six_clips / "c0.mp4").as_uri(), str(tmp_path / "link" / "c0.mp4")]  # fmt: skip
    rows = [row(way, f"c{number % 2 + 1}.mp4", rater=f"r{number}") for number, way in enumerate(ways)]
    counts = import_data("pairs", write_table(six_clips / "t.csv", rows), tmp_path / "d")
    assert (counts.clips, counts.pairs, counts.judgements) == (3, 2, 7)
    for way in ways[1:]:
        source = write_table(six_clips / "t.csv", [row("c0.mp4", way)])
        with pytest.raises(DataError, match=r"t\.csv:2: both sides are the same clip"):
            import_data("pairs", source, tmp_path / "e")


def test_a_link_of_a_file_is_a_clip_of_its_own(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "same.mp4").symlink_to(six_clips / "c0.mp4")
    rows = [row("c0.mp4", "c1.mp4", model_a="m0"), row("same.mp4", "c1.mp4", model_a="m1")]
    assert import_data("pairs", write_table(six_clips / "t.csv", rows), tmp_path / "d").clips == 3


def test_a_backslash_in_the_name_of_a_file_is_one(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "c0.mp4").rename(six_clips / "a\\b.mp4")
    source = write_table(six_clips / "t.csv", [row("a\\b.mp4", "c1.mp4")])
    assert import_data("pairs", source, tmp_path / "d").clips == 2


def test_two_seeds_of_a_clip_are_told(tmp_path: Path, six_clips: Path) -> None:
    rows = [row("c0.mp4", "c1.mp4", seed_a=3), row("c0.mp4", "c2.mp4", seed_a=""), row("c0.mp4", "c3.mp4", seed_a=4)]
    with pytest.raises(DataError, match=r"t\.csv:4: c0\.mp4: had seed 3 before, here 4"):
        import_data("pairs", write_table(six_clips / "t.csv", rows), tmp_path / "d")


@pytest.mark.parametrize(("name", "query", "stored"), [
    ("c0.mp4", "sig=a/b.avi&x=*[1]", ".mp4"),
    ("c0.webm", "sig=1.mp4", ".webm"),
    ("c0.php", "file=c0.mp4", ".mp4"),
    ("c0", "", ".mp4"),
])  # fmt: skip
def test_the_kind_of_a_copied_clip_comes_from_the_path_of_its_address(
    tmp_path: Path, six_clips: Path, name: str, query: str, stored: str
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    address = f"memory://kinds/{name}" + (f"?{query}" if query else "")
    memory.pipe(address, (six_clips / "c0.mp4").read_bytes())
    source = write_table(six_clips / "t.csv", [row(address, "c1.mp4")])
    import_data("pairs", source, tmp_path / "d", options={"copy_clips": True})
    dataset = Dataset.open(tmp_path / "d")
    copied = dataset.clips()[0]
    assert copied.path == f"clips/{copied.clip_id}{stored}" and copied.clip_id.startswith("c0-")
    assert dataset.load(copied).frames.shape == (5, 16, 16, 3)
