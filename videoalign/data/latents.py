"""Latents, text states and reference errors on disk, encoded once and read by every training run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from videoalign.contracts.output import fingerprint, whole_file, write_json
from videoalign.contracts.records import WinLosePair
from videoalign.errors import DataError, OutputError

MANIFEST = "latents.json"


@dataclass(frozen=True)
class ReferenceErrors:
    """The reference's error on K fixed draws of every pair, so that training needs no reference pass.

    Draw k of pair p: time ``times[p, k]``, noise from ``noise_seeds[p, k]``, shared by both clips.
    """

    times: Tensor
    """float32 (P, K), in (0, 1)."""
    noise_seeds: Tensor
    """int64 (P, K)."""
    errors_win: Tensor
    """float32 (P, K), mean squared velocity error of the reference on the preferred clip."""
    errors_lose: Tensor
    """float32 (P, K), the same on the other clip."""


class LatentCache:
    """A folder of safetensors shards: ``clips-*`` (clip id to latents), ``texts-*`` (prompt id to text states).

    Each shard is written whole, so a run that stopped keeps what it had; open it again and add what is missing.
    Tensors keep the type they were given in. Open it with `open`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._where: dict[str, dict[str, Path]] = {"clips": {}, "texts": {}}
        for kind, where in self._where.items():
            for shard in sorted(folder.glob(f"{kind}-*.safetensors")):
                where.update(dict.fromkeys(_keys(shard), shard))

    @classmethod
    def open(cls, folder: str | Path, identity: Mapping[str, Any]) -> Self:
        """The cache in ``folder``, made when absent.

        Args:
            folder: usually ``latents/<model>`` of a dataset.
            identity: what the latents depend on, such as `Generator.identity()`.

        Raises:
            OutputError: the folder holds latents of another model.
            DataError: a shard is damaged.
        """
        folder = Path(folder)
        file = folder / MANIFEST
        want = json.loads(json.dumps(identity))
        if not file.is_file():
            write_json(file, want)
        have = json.loads(file.read_text(encoding="utf-8"))
        changed = sorted(key for key in {*have, *want} if have.get(key) != want.get(key))
        if changed:
            raise OutputError(
                f"{folder} holds latents of another model (differs in {', '.join(changed)}); delete it, or give the "
                "model another name."
            )
        return cls(folder)

    @property
    def clip_ids(self) -> set[str]:
        """Clips whose latents are there."""
        return set(self._where["clips"])

    @property
    def prompt_ids(self) -> set[str]:
        """Prompts whose text states are there."""
        return set(self._where["texts"])

    def add_clips(self, latents: Mapping[str, Tensor]) -> None:
        """Adds latents (C, F, H, W) by clip id, as one shard."""
        self._add("clips", latents)

    def add_texts(self, states: Mapping[str, Tensor]) -> None:
        """Adds text states (L, D) by prompt id, as one shard."""
        self._add("texts", states)

    def clips(self, ids: Iterable[str]) -> dict[str, Tensor]:
        """Latents float32 (C, F, H, W) of these clips.

        Raises:
            DataError: a clip that was not encoded.
        """
        return self._read("clips", ids)

    def texts(self, ids: Iterable[str]) -> dict[str, Tensor]:
        """Text states float32 (L, D) of these prompts.

        Raises:
            DataError: a prompt that was not encoded.
        """
        return self._read("texts", ids)

    def reference_file(self, pairs: Sequence[WinLosePair], settings: Mapping[str, Any]) -> Path:
        """Where the reference errors of these pairs under these settings (draws, times, seed) stand."""
        key = [[pair.prompt_id, pair.clip_win, pair.clip_lose] for pair in pairs]
        return self.folder / f"reference-{fingerprint([key, dict(settings)])}.safetensors"

    def write_reference(self, file: Path, reference: ReferenceErrors) -> None:
        """Stores reference errors, whole or not at all."""
        with whole_file(file) as aside:
            save_file({name: value.contiguous() for name, value in vars(reference).items()}, aside)

    def read_reference(self, file: Path) -> ReferenceErrors | None:
        """Reference errors, or None when none were stored under this name.

        Raises:
            DataError: the file is damaged.
        """
        if not file.is_file():
            return None
        try:
            return ReferenceErrors(**load_file(file))
        except (SafetensorError, TypeError) as error:
            raise _damaged(file, error) from None

    def _add(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            return
        number = 1 + max((int(shard.stem.rpartition("-")[2]) for shard in set(self._where[kind].values())), default=-1)
        shard = self.folder / f"{kind}-{number:05d}.safetensors"
        with whole_file(shard) as aside:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, aside)
        self._where[kind].update(dict.fromkeys(tensors, shard))

    def _read(self, kind: str, ids: Iterable[str]) -> dict[str, Tensor]:
        where, wanted = self._where[kind], list(dict.fromkeys(ids))
        missing = [key for key in wanted if key not in where]
        if missing:
            raise DataError(
                f"{self.folder}: {len(missing)} of {len(wanted)} {kind} are not encoded, such as '{missing[0]}'. "
                "Encode them with: videoalign encode"
            )
        by_shard: dict[Path, list[str]] = {}
        for key in wanted:
            by_shard.setdefault(where[key], []).append(key)
        found: dict[str, Tensor] = {}
        for shard, keys in by_shard.items():
            try:
                with safe_open(shard, framework="pt") as reader:
                    found |= {key: reader.get_tensor(key).to(torch.float32) for key in keys}
            except SafetensorError as error:
                raise _damaged(shard, error) from None
        return {key: found[key] for key in wanted}


def _keys(shard: Path) -> list[str]:
    try:
        with safe_open(shard, framework="pt") as reader:
            return list(reader.keys())
    except SafetensorError as error:
        raise _damaged(shard, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} is damaged ({' '.join(str(error).split())}). Delete it and encode again.")
