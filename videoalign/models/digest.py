"""What stands for the weights of a model: a hash of all their values, read from the files that they come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import Tensor, nn

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.output import fingerprint
from videoalign.stores.cache import cache_folder

WEIGHT_FILES = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call the weights in a folder, one file or several with an index."""

_KNOWN: WeakKeyDictionary[nn.Module, tuple[str, Callable[[], str]]] = WeakKeyDictionary()
"""Of a module, a quick look at its weights and, while they look so, their digest."""


def weights_digest(module: nn.Module) -> str:
    """A hash of names, shapes and all values of a module's weights; adapter layers do not count.

    Values count as float32, so weights stored in 16 bits and opened in 32 have one digest. Of a module whose files were
    told with `note_files`, it is that of the files, also where the module was opened in a coarser format.
    """
    look, known = _look(module), _KNOWN.get(module)
    if known is None or known[0] != look:
        digest = _values_digest({name: partial(_plain, value) for name, value in _weights(module)})
        known = _KNOWN[module] = look, lambda: digest
    return known[1]()


def note_files(module: nn.Module, folder: Path) -> None:
    """Says that a module was read from the safetensors files of this folder; where there are none, nothing is noted."""
    files = _weight_files(folder)
    if files:
        note_digest(module, partial(_files_digest, files))


def note_digest(module: nn.Module, digest: Callable[[], str]) -> None:
    """Says what tells a module's digest for as long as its weights stay as they are; also of one without values."""
    _KNOWN[module] = _look(module), digest


def is_as_noted(module: nn.Module) -> bool:
    """Whether a module's weights are still those that `note_digest` was called with, and it carries no adapter."""
    known = _KNOWN.get(module)
    return known is not None and known[0] == _look(module) and adapter_digest(module) is None


def files_digest(folder: Path) -> str | None:
    """`weights_digest` of what is read from the safetensors files of this folder; None where there are none.

    Raises:
        OSError, SafetensorError: they cannot be read.
    """
    files = _weight_files(folder)
    return _files_digest(files) if files else None


@contextmanager
def moved(module: nn.Module) -> Iterator[None]:
    """While the block runs the module is moved to another device and nothing else, which leaves its digest as it is."""
    known = _KNOWN.get(module)
    unchanged = known is not None and known[0] == _look(module)
    yield
    if known is not None and unchanged:
        _KNOWN[module] = _look(module), known[1]


def config_digest(part: Any) -> str:
    """A hash of the settings that a part of a pipeline was built from and of its class."""
    config = part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
    return fingerprint([type(part).__name__, _telling(config)])


def adapter_digest(module: nn.Module) -> str | None:
    """A hash of the adapter on a module: its weights, its scale and whether it is switched on; None without one."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    if not layers:
        return None
    use = {
        name: [vars(layer).get("scaling"), list(layer.active_adapters), layer.disable_adapters, layer.merged_adapters]
        for name, layer in layers.items()
    }
    weights = {name: partial(_plain, value) for name, value in module.state_dict().items() if ".lora_" in name}
    return fingerprint([use, _values_digest(weights)])


def folder_digest(folder: str | Path, *patterns: str) -> str:
    """A hash of the names and contents of the files of a folder that fit one of the patterns.

    Raises:
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    found = [[str(file.relative_to(folder)), _memory().of(file)] for file in files]
    _memory().save()
    return fingerprint(found)


_SAYS_NOTHING = ("architectures", "dtype", "torch_dtype", "transformers_version")
"""Settings that change with the way a model was opened."""


def _telling(config: Mapping[Any, Any]) -> dict[Any, Any]:
    """Settings without those that say nothing, also where a part of a model has settings of its own."""
    told = {name: value for name, value in config.items() if not str(name).startswith("_")}
    return {
        name: _telling(value) if isinstance(value, Mapping) else value
        for name, value in told.items()
        if name not in _SAYS_NOTHING
    }


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Weights by name, without adapters; what stands under several names is there once, as files have it."""
    found: dict[tuple[int, int], tuple[str, Tensor]] = {}
    for name, value in module.state_dict().items():
        if ".lora_" not in name:
            place = (value.data_ptr(), value.numel()) if value.numel() else (-1, len(found))
            found.setdefault(place, (name.replace(".base_layer.", "."), value))
    return list(found.values())


def _plain(value: Tensor) -> Tensor:
    return value.detach()


def _values_digest(tensors: Mapping[str, Callable[[], Tensor]]) -> str:
    """Hash of tensors by name, however they are spread over files."""

    def one(item: tuple[str, Callable[[], Tensor]]) -> str:
        value = item[1]()
        exact = (value.float() if value.is_floating_point() else value).cpu().contiguous()
        digest = hashlib.sha256(json.dumps([item[0], list(exact.shape), str(exact.dtype)]).encode())
        digest.update(exact.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return hashlib.sha256("".join(pool.map(one, sorted(tensors.items()))).encode()).hexdigest()[:16]


def _look(module: nn.Module) -> str:
    """Changes with nearly every change of the weights: how often each was written to, and a sample of its values."""
    digest = hashlib.sha256()
    for name, value in _weights(module):
        flat = value.detach().reshape(-1)
        some = torch.empty(0) if value.is_meta else flat[:: max(1, len(flat) // 64)]
        values = (some.float() if some.is_floating_point() else some).cpu().numpy()
        version = -1 if value.is_inference() else value._version
        digest.update(json.dumps([name, list(value.shape), version]).encode() + values.tobytes())
    return digest.hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    for stem in WEIGHT_FILES:
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            return [folder / name for name in sorted(names)]
        if (folder / f"{stem}.safetensors").is_file():
            return [folder / f"{stem}.safetensors"]
    return []


def _files_digest(files: list[Path]) -> str:
    def read() -> str:
        with ExitStack() as stack:
            readers = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
            return _values_digest({name: partial(r.get_tensor, name) for r in readers for name in r.keys()})  # noqa: SIM118

    digest = _memory().of_all(files, read, what="values")
    _memory().save()
    return digest


@cache
def _memory() -> FileDigests:
    """Digests of the files of models, kept for all runs of this user, since large ones take a minute to read."""
    return FileDigests(cache_folder() / "digests.json")
