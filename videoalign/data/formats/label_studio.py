"""Label Studio's export of tasks (JSON) whose raters compared two videos with ``Pairwise`` and ``Choices`` tags.

A task has ``data`` with ``prompt, video_a, video_b`` (and ``model_a, model_b``) and ``annotations``; the name of a
tag is the dimension. ``Pairwise`` knows left and right only, so ties and more come from a ``Choices`` tag of the same
name, or of that name with ``_choice`` behind it. An annotation marked as ground truth is the known answer of its pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Judgement, Label, Role
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import PairEntry, SourceClip, names_in, plain_dimensions
from videoalign.data.formats.source import Row, SourceTable
from videoalign.data.formats.verdicts import (
    LABELS,
    SIDES,
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.formats.writing import Contents, judged_together, write_rows
from videoalign.data.votes import FINAL
from videoalign.errors import DataError

_BESIDE = "_choice"


class LabelStudioOptions(VerdictOptions):
    """Settings of ``data import label-studio``."""

    clip_a: str = "video_a"
    """Field of the data with the path of the first clip, the left one."""
    clip_b: str = "video_b"
    """Field of the data with the path of the second clip."""
    prompt: str = "prompt"
    """Field of the data with the prompt."""


class LabelStudioImporter:
    """Reads the tasks of such an export."""

    def __init__(self, table: SourceTable, options: LabelStudioOptions) -> None:
        table.require("data", "annotations")
        self.options, self.known = options, known_verdicts(options, {**LABELS, **SIDES})
        asked = names_in(table, lambda row: [name for given in _annotations(row) for name, _ in _results(given)])
        self.dimensions = plain_dimensions(options.dimensions or asked, options)
        self._names = {asked: name for name, asked in self.dimensions.items()}

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        data = row.fields("data")
        clip_a = SourceClip(path=data.text(self.options.clip_a), generator=data.optional("model_a"))
        clip_b = SourceClip(path=data.text(self.options.clip_b), generator=data.optional("model_b"))
        found = []
        for given in _annotations(row):
            seconds = given.number_or_none("lead_time")
            labels = self._labels(given)
            if labels:
                found.append(
                    PairEntry(
                        prompt=data.text(self.options.prompt),
                        clip_a=clip_a,
                        clip_b=clip_b,
                        rater=_rater(given),
                        labels=labels,
                        role=Role.GOLD if given.cells.get("ground_truth") else Role.RATER,
                        seconds=-1.0 if seconds is None else seconds,
                    )
                )
        return found

    def _labels(self, given: Row) -> dict[str, Label]:
        labels: dict[str, Label] = {}
        for asked, text in _results(given):
            name, label = self._names.get(asked), normalise_label(text, asked, self.known)
            if name is not None and labels.setdefault(name, label) != label:
                raise DataError(f"{_rater(given)} says both {labels[name]} and {label} on {asked}; correct one.")
        return labels


def _annotations(row: Row) -> list[Row]:
    """Those that were handed in."""
    return [given for given in row.objects("annotations") if not given.cells.get("was_cancelled")]


def _results(given: Row) -> Iterator[tuple[str, str]]:
    """Dimension and verdict of each tag that was filled in."""
    for result in given.objects("result"):
        value, kind = result.fields("value"), result.optional("type")
        name = result.text("from_name").removesuffix(_BESIDE)
        if kind == "pairwise":
            yield name, value.text("selected")
        elif kind == "choices":
            chosen = value.items("choices")
            if len(chosen) != 1:
                raise DataError(f"{name}: {len(chosen)} choices; wanted one.")
            yield name, str(chosen[0])


def _rater(given: Row) -> str:
    """Address or number of who completed it."""
    if isinstance(given.cells.get("completed_by"), Mapping):
        who = given.fields("completed_by")
        return who.optional("email") or who.text("id")
    return given.text("completed_by")


def export_label_studio(dataset: Dataset, out: Path) -> int:
    """Tasks with each rater's annotation, ``Pairwise`` for A and B and ``Choices`` for the rest; JSON.

    Known answers and the last words of adjudicators are marked as ground truth.
    """
    rows, nothing = _tasks(dataset, Contents(dataset, out)), f"{dataset.path}: no judgement to export."
    return write_rows(out, rows, nothing, endings=(".json", ".jsonl"))


def _tasks(dataset: Dataset, contents: Contents) -> Iterator[dict[str, Any]]:
    number = 0
    for part in dataset.judgements_by_pair():
        for (clip_a, clip_b), given in _annotations_of(part).items():
            number += 1
            pair = contents.pair(clip_a, clip_b)
            data = {"prompt": pair["prompt"], "video_a": pair["clip_a"], "video_b": pair["clip_b"]}
            data |= {name: pair[name] for name in ("model_a", "model_b")}
            yield {"id": number, "data": data, "annotations": given}


def _annotations_of(judgements: Iterable[Judgement]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By the clips as they were shown."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for group in judged_together(judgements):
        first = group[0]
        if first.role in (Role.RATER, *FINAL):
            found.setdefault((first.clip_a, first.clip_b), []).append(
                {
                    "completed_by": {"email": first.rater or "unknown"},
                    "was_cancelled": False,
                    "ground_truth": first.role in FINAL,
                    "lead_time": None if first.seconds < 0 else first.seconds,
                    "result": [_result(row.dimension, Label(row.label)) for row in group],
                }
            )
    return found


def _result(name: str, label: Label) -> dict[str, Any]:
    if label in (Label.A, Label.B):
        value: dict[str, Any] = {"selected": "left" if label == Label.A else "right"}
        return {"from_name": name, "to_name": "video_a,video_b", "type": "pairwise", "value": value}
    value = {"choices": [str(label)]}
    return {"from_name": f"{name}{_BESIDE}", "to_name": "video_a", "type": "choices", "value": value}
