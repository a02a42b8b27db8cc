"""What a dataset or a run holds, what is under way in it, and what it waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from videoalign.contracts.holding import Holder, holder_of
from videoalign.contracts.output import RUN_FILE
from videoalign.contracts.records import INFO_FILE, Judgement, Rating
from videoalign.data.dataset import LATENTS_FOLDER, Dataset
from videoalign.data.rejected import read_rejected
from videoalign.data.tables import read_columns, read_table
from videoalign.errors import DataError, first_few
from videoalign.stores.opening import holder_at
from videoalign.video.addresses import is_address

KINDS = {"clips": "latents of clips", "texts": "conditions of prompts", "reference": "reference errors of pairs"}
"""Kinds of `TensorStore`, in words."""

ENDS = (
    "adapter_model.safetensors",
    "model_index.json",
    "latent_reward.json",
    "results.json",
    "result.json",
    "model/reward.json",
)
"""Files that a run ends with."""


@dataclass
class Status:
    """Of one folder."""

    what: str
    """``dataset``, or the command of a run."""
    done: dict[str, int | str] = field(default_factory=dict)
    """What is there, by name."""
    ended: str = ""
    """File that a run ended with; empty while it has not."""
    running: dict[str, Holder] = field(default_factory=dict)
    """Runs that are in it now."""
    waits_for: list[str] = field(default_factory=list)
    """What is missing, and the command that makes it; empty where nothing is."""


def folder_status(folder: str | Path) -> Status:
    """What is known of a folder from its files alone.

    Raises:
        DataError: neither a dataset nor a run.
    """
    folder = Path(folder)
    if (folder / INFO_FILE).is_file():
        return _of_dataset(Dataset.open(folder))
    if (folder / RUN_FILE).is_file():
        return _of_run(folder)
    inner = sorted({file.parent.name for sign in (INFO_FILE, RUN_FILE) for file in folder.glob(f"*/{sign}")})
    way_out = f"give one of its folders: {first_few(inner)}" if inner else "give the folder of one"
    raise DataError(f"{folder}: holds neither a dataset ({INFO_FILE}) nor a run ({RUN_FILE}); {way_out}.")


def _of_dataset(dataset: Dataset) -> Status:
    clips, folder = dataset.clips(), dataset.path
    there = sum(is_address(clip.path) or dataset.clip_bytes(clip) is not None for clip in clips)
    status = Status("dataset", {"prompts": len(dataset.prompts()), "clips": len(clips)})
    if there < len(clips):
        status.waits_for.append(f"{len(clips) - there} clips whose files are missing; make or fetch them again")
    for record in (Judgement, Rating):
        if number := sum(part.num_rows for part in read_columns(dataset.table_path(record), record, ["dimension"])):
            status.done[f"{record.__name__.lower()}s"] = number
    for name in dataset.names("scores"):
        status.done[f"scores {name}"] = number = len(dataset.scores(name))
        rejected = sum(row["stage"] == f"score {name}" for row in read_rejected(folder))
        if number + rejected < len(clips):
            missing = len(clips) - number - rejected
            status.waits_for.append(f"scores {name} of {missing} clips; videoalign reward score --dataset")
    for part in sorted((folder / "scores").glob("*.part")):
        kept = sum(_rows(one) for one in part.iterdir() if one.is_dir())
        status.waits_for.append(f"scores {part.stem}: {kept} of {len(clips)} are kept; the same command goes on")
    for name in dataset.names("pairs"):
        status.done[f"pairs {name}"] = len(dataset.pairs(name))
    for kind, number in _stored(folder / LATENTS_FOLDER).items():
        status.done[KINDS.get(kind, kind)] = number
    for stage in sorted({row["stage"] for row in read_rejected(folder)}):
        status.done[f"rejected by {stage}"] = sum(row["stage"] == stage for row in read_rejected(folder))
    status.running = dict(_held(folder))
    return status


def _of_run(folder: Path) -> Status:
    identity = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    status = Status(str(identity.get("command", "a run")))
    log = folder / "log.jsonl"
    if log.is_file():
        rows = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        total = _steps(identity)
        last = json.loads(rows[-1])["step"] if rows else 0
        status.done["steps"] = f"{last:g} of {total}" if total else f"{last:g}"
    for inner in sorted(folder.iterdir()):
        if (inner / INFO_FILE).is_file():
            status.done[f"clips in {inner.name}"] = len(Dataset.open(inner).clips())
    if stages := list((folder / "stages").glob("*.json")):
        status.done["stages"] = len(stages)
    ended = [name for name in ENDS if (folder / name).is_file()]
    if (asked := _clips_asked(identity)) is not None:
        made = sorted(file.name for file in folder.glob("*.mp4"))
        status.done["clips"] = f"{len(made)} of {asked}"
        ended = made[-1:] if len(made) >= asked else []
    status.running = dict(_held(folder))
    if ended:
        status.ended = ended[0]
    elif not status.running:
        status.waits_for.append("its end; the same command goes on")
    return status


def _held(folder: Path) -> Iterator[tuple[str, Holder]]:
    """Runs that are in a folder or in one of those that its work is held by."""
    if (writer := holder_at(folder)) is not None:
        yield "this folder", writer
    for place in (folder, *sorted(folder.glob("runs/*")), *sorted(folder.glob("scores/*.part"))):
        holder = holder_of(place)
        if holder is not None:
            yield ("this folder" if place == folder else str(place.relative_to(folder))), holder


def _stored(folder: Path) -> dict[str, int]:
    """How many clips, texts and pairs have tensors in a folder of stores, by kind; each once, however it was made."""
    keys: dict[str, set[str]] = {}
    for shard in sorted(folder.glob("*-*-*.safetensors")):
        with suppress(SafetensorError, OSError), safe_open(shard, framework="np") as reader:  # just removed, or damaged
            found = keys.setdefault(shard.name.partition("-")[0], set())
            found.update(key.partition(".")[0] for key in reader.keys())  # noqa: SIM118
    return {kind: len(found) for kind, found in keys.items()}


def _rows(folder: Path) -> int:
    return sum(read_table(file).num_rows for file in folder.glob("*.parquet"))


def _clips_asked(identity: dict[str, Any]) -> int | None:
    """How many files a run of `sample` ends with; None of another run."""
    if identity.get("command") != "sample":
        return None
    return len(set(identity["prompts"])) * int(identity["settings"]["per_prompt"])


def _steps(identity: dict[str, Any]) -> int | None:
    number = (identity.get("fit") or {}).get("num_steps")
    return None if number is None else int(number)
