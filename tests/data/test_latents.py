"""Laws of the tensors on disk."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from videoalign.data.latents import ConditionStore, LatentCache, TensorStore, read_stored
from videoalign.errors import DataError
from videoalign.flow.condition import Condition, join_conditions

MADE = {"autoencoder": "1"}


def some(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((2, 3), float(ord(name[0]))) for name in names}


def test_what_was_added_is_read_back_in_the_order_asked_also_by_the_next_run(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, "clips", MADE)
    store.add(some("a", "b"))
    store.add(some("c"))
    for reader in (store, TensorStore(tmp_path, "clips", MADE)):
        assert [key for key in "abcd" if key in reader] == ["a", "b", "c"]
        places = {f"clip {key}": reader.place(key) for key in "abc"}
        cache = LatentCache(tmp_path, places, {}, ConditionStore(tmp_path, MADE, ("text",), {}))
        got = cache.clips(["clip c", "clip a", "clip c"])
        assert list(got) == ["clip c", "clip a"]
        assert torch.equal(got["clip a"], some("a")["a"])
    store.add({"a": torch.zeros(1)})
    assert len(list(tmp_path.glob("clips-*.safetensors"))) == 3
    for reader in (store, TensorStore(tmp_path, "clips", MADE)):
        assert read_stored([reader.place("a")])[reader.place("a")].tolist() == [0.0]


def test_tensors_made_in_another_way_are_not_found_and_the_folder_says_what_they_are(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, "clips", MADE)
    store.add(some("a"))
    for other in (TensorStore(tmp_path, "clips", {"autoencoder": "2"}), TensorStore(tmp_path, "texts", MADE)):
        assert "a" not in other
        other.add(some("a"))
        assert other.place("a").name != store.place("a").name
    told = json.loads((tmp_path / "latents.json").read_text())
    assert sorted(map(str, told.values())) == sorted(map(str, [MADE, MADE, {"autoencoder": "2"}]))
    assert all(len(list(tmp_path.glob(f"{group}-*.safetensors"))) == 1 for group in told)


def test_half_precision_is_stored_as_given_and_read_as_float32(tmp_path: Path) -> None:
    store, value = TensorStore(tmp_path, "clips", MADE), torch.tensor([0.1], dtype=torch.float16)
    store.add({"a": value})
    read = read_stored([store.place("a")])[store.place("a")]
    assert read.dtype == torch.float32
    assert torch.equal(read, value.float())


def test_mistakes_are_one_line_errors(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, "clips", MADE)
    store.add(some("a"))
    cache = LatentCache(tmp_path, {"a": store.place("a")}, {}, ConditionStore(tmp_path, MADE, ("text",), {}))
    with pytest.raises(DataError, match="1 of 2 clips are not encoded, such as 'z'"):
        cache.clips(["a", "z"])
    shard = next(tmp_path.glob("clips-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:20])
    for read in (lambda: TensorStore(tmp_path, "clips", MADE), lambda: cache.clips(["a"])):
        with pytest.raises(DataError, match="is damaged"):
            read()


def test_conditions_come_back_row_by_row_in_the_types_and_at_the_lengths_that_they_had(tmp_path: Path) -> None:
    text = torch.zeros(2, 5, 3, dtype=torch.bfloat16)
    text[0, :4], text[1, :2] = 1.5, -0.25
    whole = Condition({"text": text, "pooled": torch.arange(4.0).reshape(2, 2)}, {"text": 5})
    names = tuple(whole.tensors)
    store = ConditionStore(tmp_path, {"text_encoder": "1"}, names, {"text": 5})
    store.add(dict(zip("ab", whole.split(), strict=True)))
    again = ConditionStore(tmp_path, {"text_encoder": "1"}, names, {"text": 5})
    assert [key for key in "abc" if key in again] == ["a", "b"]
    assert "a" not in ConditionStore(tmp_path, {"text_encoder": "1"}, (*names, "mask"), {}), "a row lacks a tensor"
    cache = LatentCache(tmp_path, {}, {f"p{key}": again.place(key) for key in "ab"}, again)
    rows = cache.conditions(["pb", "pa"])
    assert list(rows) == ["pb", "pa"] and rows["pb"].tensors["text"].shape == (1, 2, 3)
    joined = join_conditions([rows["pa"], rows["pb"]])
    assert torch.equal(joined["text"], text) and joined["text"].dtype == torch.bfloat16
    assert torch.equal(joined["pooled"], whole["pooled"])
    with pytest.raises(DataError, match="1 of 1 prompts are not encoded, such as 'pc'"):
        cache.conditions(["pc"])


def test_two_that_add_at_the_same_time_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def save(*args: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.5)  # without a lock both have chosen a number by now
        save_file(*args)

    monkeypatch.setattr("videoalign.data.latents.save_file", save)
    stores = [
        TensorStore(tmp_path, "clips", MADE),
        TensorStore(tmp_path, "clips", MADE),
        TensorStore(tmp_path, "c", {}),
    ]
    adding = [threading.Thread(target=store.add, args=(some(key),)) for store, key in zip(stores, "abc", strict=True)]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join()
    both = TensorStore(tmp_path, "clips", MADE)
    assert "a" in both and "b" in both and both.place("a").shard != both.place("b").shard
    assert len(json.loads((tmp_path / "latents.json").read_text())) == 2
    assert not list(tmp_path.glob(".*")), "neither a lock nor half a file is left"


def own_kibibytes() -> int:
    """Memory of this process that is not a file's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="of Linux, which tells what memory is for")
def test_what_is_read_stays_in_its_file_until_it_is_used(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, "clips", MADE)
    for number in range(4):
        store.add({str(number): torch.full((4, 2**20), float(number))})
    places = {str(number): store.place(str(number)) for number in range(4)}
    cache = LatentCache(tmp_path, places, {}, ConditionStore(tmp_path, MADE, ("text",), {}))
    before = own_kibibytes()
    latents = cache.clips(map(str, range(4)))
    assert [float(value[3, -1]) for value in latents.values()] == [0.0, 1.0, 2.0, 3.0]
    assert sum(float(value.sum()) for value in latents.values()) == 6 * 2**22
    assert own_kibibytes() - before < 16 * 1024, "of 64 MiB, also after all of it was used"
