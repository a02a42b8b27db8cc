"""Laws of what stands for the weights of a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from videoalign.contracts.digests import file_digest
from videoalign.contracts.output import fingerprint
from videoalign.models import digest
from videoalign.models.digest import adapter_digest, folder_digest, moved, note_files, weights_digest
from videoalign.models.lora import LoraSettings, add_lora, as_reference, remove_adapter


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOALIGN_CACHE", str(tmp_path / "cache"))
    digest._memory.cache_clear()


class WanTransformer3DModel(nn.ModuleDict):
    """A few layers under the name of a class that adapters go onto."""


def attention() -> nn.ModuleDict:
    layers: dict[str, nn.Module] = {name: nn.Linear(4, 4) for name in ("to_q", "to_k", "to_v")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanTransformer3DModel({**layers, "to_out": nn.ModuleList([nn.Linear(4, 4)])})


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same weights every time, all of them whole numbers over 64, so that bfloat16 holds some and rounds others."""
    net = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 5))
    with torch.no_grad():
        for place, value in enumerate(net.parameters()):
            value.copy_((torch.arange(value.numel()).view_as(value) * 37 % 1001 + place) / 64)
    return net.to(dtype)


def written(folder: Path, net: nn.Module, *, parts: int = 1) -> Path:
    """The weights as diffusers stores them, in one file or several."""
    folder.mkdir()
    state = net.state_dict()
    names = [list(state)[part::parts] for part in range(parts)]
    files = [f"model-{part}.safetensors" for part in range(parts)] if parts > 1 else ["model.safetensors"]
    for file, some in zip(files, names, strict=True):
        save_file({name: state[name] for name in some}, folder / file)
    if parts > 1:
        weight_map = {name: file for file, some in zip(files, names, strict=True) for name in some}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_every_single_value_counts() -> None:
    before = weights_digest(network())
    assert weights_digest(network()) == before
    for place in range(0, 1200, 97):
        net = network()
        with torch.no_grad():
            net[0].weight.view(-1)[place] += 1 / 64
        assert weights_digest(net) != before


def test_a_change_after_the_first_look_is_seen_however_it_is_made() -> None:
    net = network()
    seen = [weights_digest(net)]
    with torch.no_grad():
        net[0].weight.view(-1)[77] += 1
    seen.append(weights_digest(net))
    net[1].weight.data += 1  # as merging an adapter does
    seen.append(weights_digest(net))
    net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()})
    seen.append(weights_digest(net))
    net[0].bias = nn.Parameter(net[0].bias + 1)
    seen.append(weights_digest(net))
    assert len(set(seen)) == 5


@pytest.mark.parametrize("parts", [1, 2])
def test_files_and_memory_agree_and_the_format_they_are_opened_in_does_not_count(tmp_path: Path, parts: int) -> None:
    folder = written(tmp_path / "whole", network(), parts=parts)
    want = weights_digest(network())
    for dtype in (torch.float32, torch.bfloat16):
        net = network(dtype)
        note_files(net, folder)
        assert weights_digest(net) == want
    rounded = network(torch.bfloat16)
    assert weights_digest(rounded) != want  # nobody said that it comes from those files
    half = written(tmp_path / "half", network(torch.bfloat16))
    opened = network(torch.bfloat16).float()
    assert weights_digest(opened) == weights_digest(rounded)
    note_files(opened, half)
    assert weights_digest(opened) == weights_digest(rounded)


def test_a_module_that_was_changed_is_no_longer_that_of_its_files(tmp_path: Path) -> None:
    net = network(torch.bfloat16)
    note_files(net, written(tmp_path / "m", network()))
    before = weights_digest(net)
    with torch.no_grad():
        net[0].weight[0, 0] += 1
    assert weights_digest(net) != before


def test_large_files_are_read_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videoalign.contracts.digests.SETTLED_SECONDS", -1.0)
    folder, reads = written(tmp_path / "m", network()), []
    plain = digest._values_digest
    monkeypatch.setattr(digest, "_values_digest", lambda tensors: reads.append(1) or plain(tensors))

    def opened() -> str:
        digest._memory.cache_clear()  # as a new process starts
        net = network()
        note_files(net, folder)
        return weights_digest(net)

    first = opened()
    assert opened() == first
    assert len(reads) == 1
    state = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in state.items()}, folder / "model.safetensors")
    assert opened() != first
    assert len(reads) == 2


@pytest.mark.parametrize("first", ["file", "values"])
def test_the_digest_of_a_file_and_that_of_its_values_are_remembered_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Else what a clip is called would depend on which of the two this user's earlier commands asked for."""
    monkeypatch.setattr("videoalign.contracts.digests.SETTLED_SECONDS", -1.0)
    folder, net = written(tmp_path / "m", network()), network()
    note_files(net, folder)
    ask = {"file": lambda: folder_digest(folder, "*.safetensors"), "values": lambda: weights_digest(net)}
    found = {}
    for kind in (first, *(ask.keys() - {first})):
        digest._memory.cache_clear()  # as a new process starts
        found[kind] = ask[kind]()
    assert found["values"] == weights_digest(network())
    assert found["file"] == fingerprint([["model.safetensors", file_digest(folder / "model.safetensors")]])


def test_a_move_to_another_device_changes_nothing(tmp_path: Path) -> None:
    net = network(torch.bfloat16)
    note_files(net, written(tmp_path / "m", network()))
    before = weights_digest(net)
    with moved(net):
        for value in net.parameters():  # what a move to a graphics card does
            value.data = value.data.clone()
    assert weights_digest(net) == before


def test_weights_under_two_names_count_once_and_adapters_not_at_all() -> None:
    net = network()
    before = weights_digest(net)
    net[1].register_parameter("again", net[0].weight)
    assert weights_digest(net) == before
    named = attention()
    bare = weights_digest(named)
    assert adapter_digest(named) is None
    add_lora(named, LoraSettings(rank=2), seed=1)
    assert weights_digest(named) == bare
    remove_adapter(named)
    assert adapter_digest(named) is None


def test_an_adapter_is_its_weights_its_scale_and_whether_it_is_on() -> None:
    def adapted(rank: int = 2, alpha: float = 4.0, seed: int = 1) -> nn.Module:
        named = attention()
        add_lora(named, LoraSettings(rank=rank, alpha=alpha), seed=seed)
        return named

    one = adapter_digest(adapted())
    assert adapter_digest(adapted()) == one
    assert len({one, adapter_digest(adapted(alpha=8.0)), adapter_digest(adapted(seed=2))}) == 3
    net = adapted()
    with as_reference(net):
        assert adapter_digest(net) != one
    assert adapter_digest(net) == one
    net["to_q"].set_scale("default", 0.5)
    assert adapter_digest(net) != one


def test_a_folder_is_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json", "log.jsonl"):
        (tmp_path / "d" / name).write_text(name)
    before = folder_digest(tmp_path / "d", "adapter_*")
    (tmp_path / "d" / "log.jsonl").write_text("another")
    assert folder_digest(tmp_path / "d", "adapter_*") == before
    (tmp_path / "d" / "adapter_config.json").write_text("another")
    assert folder_digest(tmp_path / "d", "adapter_*") != before
