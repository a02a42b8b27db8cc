"""The weights of a pipeline's parts: opened when a part is used, there where it runs, and let go of afterwards.

A pipeline is opened with parts that know their settings and shapes but hold no values (torch's ``meta`` device). What
is asked of weights, as their digest, is read from the files; so a training opens the transformer alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import accelerate
import diffusers
import torch
import transformers
from accelerate.hooks import remove_hook_from_module
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from safetensors import SafetensorError
from torch import nn

from videoalign.errors import ConfigError, ModelError
from videoalign.models.digest import files_digest, is_as_noted, moved, note_digest, weights_digest
from videoalign.models.quiet import no_bars, no_notes

Offload = Literal["none", "model", "sequential"]
"""What of a model is on the graphics card: all of it; the part that runs; or, much slower, the layer that runs."""

ATTRIBUTE = "_videoalign_weights"
"""Of a pipeline, where its `Weights` stand."""

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What libraries raise of files that they cannot read."""


def check_offload(offload: str, device: str) -> None:
    """Checks that a model can be kept off the device that it runs on.

    Raises:
        ConfigError: an unknown way, or one that changes nothing on this device.
    """
    if offload not in get_args(Offload):
        raise ConfigError(f"--offload: got '{offload}'; wanted {', '.join(get_args(Offload)[:-1])} or sequential.")
    if offload != "none" and torch.device(device).type == "cpu":
        raise ConfigError(
            f"--offload: '{offload}' keeps what does not run off the graphics card, but the model runs on cpu; leave "
            "it out, or give a graphics card with --device."
        )


@dataclass(frozen=True)
class Source:
    """Where a part comes from."""

    kind: type
    """Its class, of diffusers or transformers."""
    dtype: torch.dtype
    fetch: Callable[[], Path]
    """The folder with its settings and weights, which may have to be downloaded."""

    def outline(self, folder: Path) -> nn.Module:
        """The part without values, from the settings in ``folder``."""
        kind: Any = self.kind
        with torch.device("meta"):
            if issubclass(kind, transformers.PreTrainedModel):
                part = kind(kind.config_class.from_pretrained(folder))
            else:
                part = kind.from_config(kind.load_config(folder))
        return part.eval()  # type: ignore[no-any-return]

    def read(self) -> nn.Module:
        """The part with its values.

        Raises:
            ValueError: its files lack some of them, which libraries fill up with random ones.
        """
        kind: Any = self.kind
        folder = self.fetch()
        how: dict[str, Any] = {
            "dtype" if issubclass(kind, transformers.PreTrainedModel) else "torch_dtype": self.dtype,
            "use_safetensors": any(folder.glob("*.safetensors")),
        }
        with no_bars(), no_bars(logging), no_notes(), no_notes(logging):
            part, told = kind.from_pretrained(folder, output_loading_info=True, **how)
        if missing := sorted(told["missing_keys"]):
            raise ValueError(f"{len(missing)} of its weights are in no file, such as {missing[0]}")
        return part.eval()  # type: ignore[no-any-return]


class Weights:
    """Of one pipeline, whose parts without values are taken for the closed ones.

    Args:
        model: what it is called, for messages.
        sources: of its parts, by their names in it.
        outlines: the parts without values.
        device: where it runs.
        offload: see `Offload`.
    """

    def __init__(
        self,
        model: str,
        sources: Mapping[str, Source],
        outlines: Mapping[str, nn.Module],
        device: str | torch.device,
        offload: str,
    ) -> None:
        self.model, self.sources, self.outlines = model, dict(sources), dict(outlines)
        self.device, self.offload = torch.device(device), offload
        for name, part in self.outlines.items():
            note_digest(part, partial(_digest, model, name, self.sources[name]))

    def open(self, pipeline: Any, names: Iterable[str]) -> list[nn.Module]:
        """The parts of these names, with their weights; read where they are not there yet."""
        found = []
        for name in (name for name in names if name in self.sources):
            if getattr(pipeline, name) is self.outlines[name]:
                part = _plain(self.model, name, self.sources[name].read)
                if self.device.type == "cpu" and name == "vae":
                    _lay_channels_last(part)
                if self.offload == "none":
                    part.to(self.device)
                note_digest(part, partial(_digest, self.model, name, self.sources[name]))
                setattr(pipeline, name, part)
            found.append(getattr(pipeline, name))
        return found

    def close(self, pipeline: Any, names: Iterable[str], *, changed: bool = False) -> None:
        """Lets go of the weights of these parts; only if ``changed`` of those that are not as their files have them."""
        closed = [
            name
            for name in names
            if name in self.sources
            and getattr(pipeline, name) is not self.outlines[name]
            and (changed or is_as_noted(getattr(pipeline, name)))
        ]
        for name in closed:
            setattr(pipeline, name, self.outlines[name])
        if closed:
            gc.collect()  # modules refer to themselves
        if closed and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def folder_of(self, pipeline: Any, name: str) -> Path | None:
        """Where the files of a part are that is closed, and so as they have it; None of any other."""
        closed = name in self.sources and getattr(pipeline, name) is self.outlines[name]
        return self.sources[name].fetch() if closed else None

    def opened(self, pipeline: Any) -> list[nn.Module]:
        """The parts that have their weights now."""
        parts = {name: getattr(pipeline, name) for name in self.outlines}
        return [part for name, part in parts.items() if part is not self.outlines[name]]

    def to(self, pipeline: Any, device: str | torch.device) -> None:
        """Moves what is open, and opens the rest there."""
        self.device = torch.device(device)
        for part in self.opened(pipeline) if self.offload == "none" else ():
            with moved(part):
                part.to(self.device)

    def open_to_stay(self, pipeline: Any, names: Iterable[str]) -> None:
        """Opens parts for use after use, as in training: where they run, or, layer by layer, where they rest."""
        for part in self.open(pipeline, names):
            if self.offload == "model" and next(part.parameters()).device != self.device:
                with moved(part):
                    part.to(self.device)

    @contextmanager
    def offloaded(self, pipeline: Any, parts: list[nn.Module], *, whole: bool) -> Iterator[None]:
        """While the block runs parts can be called, those that do not run being off the device, as `Offload` says."""
        if self.offload == "none":
            yield
            return
        before = [next(part.parameters()).device for part in parts]  # on the device where a training goes on after
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(moved(part))
            try:
                self._put(pipeline, parts, whole=whole)
                yield
            finally:
                for part, device in zip(parts, before, strict=True):
                    remove_hook_from_module(part, recurse=True)
                    part.to(device)

    def _put(self, pipeline: Any, parts: list[nn.Module], *, whole: bool) -> None:
        if self.offload == "sequential":
            for part in parts:  # as enable_sequential_cpu_offload does of a pipeline
                accelerate.cpu_offload(part, self.device, offload_buffers=bool(part._parameters))
        elif whole:
            pipeline.enable_model_cpu_offload(device=self.device)
        else:
            for part in parts:
                part.to(self.device)


def _digest(model: str, name: str, source: Source) -> str:
    """Of a part's files; of the values where they are of an old kind. Knows no module, so that it keeps none."""
    told = _plain(model, name, lambda: files_digest(source.fetch()))
    return told if told is not None else weights_digest(_plain(model, name, source.read))


def _plain(model: str, name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(f"--model: {model} cannot be opened as a generator ({name}: {told}).") from None


def _lay_channels_last(part: nn.Module) -> None:
    """Keeps the kernels of three-dimensional convolutions, and so what they make, with the channels of a pixel side by
    side, as convolutions and norms over channels read them on a CPU: Wan's autoencoder decodes in two thirds of the
    time. No value changes."""
    for module in part.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)


def weights_of(pipeline: Any) -> Weights | None:
    """Those of a pipeline that was opened by its parts; None of one that was given whole."""
    found: Weights | None = vars(pipeline).get(ATTRIBUTE)
    return found


def partwise(kind: type[DiffusionPipeline]) -> type[DiffusionPipeline]:
    """The class, under its own name, of pipelines that run where their `Weights` say, whatever part is open."""

    def device(pipeline: Any) -> torch.device:
        weights = weights_of(pipeline)
        return torch.device("cpu") if weights is None else weights.device

    return type(kind.__name__, (kind,), {"_execution_device": property(device), "device": property(device)})


@contextmanager
def placed(pipeline: Any, *names: str) -> Iterator[None]:
    """While the block runs these parts, or without names the pipeline's own call, can be used where they run."""
    weights = weights_of(pipeline)
    if weights is None:
        yield
        return
    parts = weights.open(pipeline, names or tuple(weights.sources))
    with weights.offloaded(pipeline, parts, whole=not names):
        yield


def open_all(pipeline: Any) -> None:
    """Reads the weights of all parts that are not open."""
    weights = weights_of(pipeline)
    if weights is not None:
        weights.open(pipeline, weights.sources)


def text_encoders(pipeline: Any) -> list[str]:
    """Names of the parts of a pipeline that read prompts, which diffusers calls by one name and a number, and of what
    their states pass through before the transformer."""
    return [name for name in pipeline.components if name.startswith("text_encoder") or name == "connectors"]


def module_of(library: str, name: str) -> type | None:
    """A class of diffusers, of one of its pipelines or of transformers; None for another library's."""
    libraries = {"diffusers": diffusers, "transformers": transformers}
    found = getattr(libraries.get(library) or getattr(diffusers.pipelines, str(library), None), str(name), None)
    return found if isinstance(found, type) else None
