"""Laws of the latent cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videoalign.contracts.records import WinLosePair
from videoalign.data.latents import LatentCache, ReferenceErrors
from videoalign.errors import DataError, OutputError

MODEL = {"name": "m", "autoencoder": "1"}


def some(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((2, 3), float(ord(name[0]))) for name in names}


def test_what_was_added_is_read_back_in_the_order_asked_also_by_the_next_run(tmp_path: Path) -> None:
    cache = LatentCache.open(tmp_path / "latents", MODEL)
    cache.add_clips(some("a", "b"))
    cache.add_clips(some("c"))
    cache.add_texts(some("p"))
    for reader in (cache, LatentCache.open(tmp_path / "latents", MODEL)):
        assert reader.clip_ids == {"a", "b", "c"}
        assert reader.prompt_ids == {"p"}
        got = reader.clips(["c", "a", "c"])
        assert list(got) == ["c", "a"]
        assert torch.equal(got["a"], some("a")["a"])
        assert torch.equal(reader.texts(["p"])["p"], some("p")["p"])
    cache.add_clips(some("d"))
    assert len(list((tmp_path / "latents").glob("clips-*.safetensors"))) == 3


def test_half_precision_is_stored_as_given_and_read_as_float32(tmp_path: Path) -> None:
    cache = LatentCache.open(tmp_path, MODEL)
    value = torch.tensor([0.1], dtype=torch.float16)
    cache.add_clips({"a": value})
    assert cache.clips(["a"])["a"].dtype == torch.float32
    assert torch.equal(cache.clips(["a"])["a"], value.float())


def test_mistakes_are_one_line_errors(tmp_path: Path) -> None:
    cache = LatentCache.open(tmp_path, MODEL)
    cache.add_clips(some("a"))
    with pytest.raises(DataError, match="1 of 2 clips are not encoded, such as 'z'"):
        cache.clips(["a", "z"])
    with pytest.raises(OutputError, match=r"another model \(differs in autoencoder\)"):
        LatentCache.open(tmp_path, {**MODEL, "autoencoder": "2"})
    shard = tmp_path / "clips-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(DataError, match="is damaged"):
        LatentCache.open(tmp_path, MODEL)


def test_reference_errors_belong_to_their_pairs_and_settings(tmp_path: Path) -> None:
    cache = LatentCache.open(tmp_path, MODEL)
    pairs = [WinLosePair(prompt_id="p", clip_win="a", clip_lose="b", reward_win=1, reward_lose=0)]
    file = cache.reference_file(pairs, {"num_draws": 2})
    assert cache.read_reference(file) is None
    errors = ReferenceErrors(torch.rand(1, 2), torch.tensor([[1, 2**55]]), torch.rand(1, 2), torch.rand(1, 2))
    cache.write_reference(file, errors)
    back = cache.read_reference(file)
    assert back is not None
    for name, value in vars(errors).items():
        assert torch.equal(getattr(back, name), value)
    assert cache.reference_file(pairs, {"num_draws": 3}) != file
    swapped = [WinLosePair(prompt_id="p", clip_win="b", clip_lose="a", reward_win=1, reward_lose=0)]
    assert cache.reference_file(swapped, {"num_draws": 2}) != file
    file.write_bytes(b"123")
    with pytest.raises(DataError, match="is damaged"):
        cache.read_reference(file)
