"""Label Studio's exports of tasks whose raters compared or rated two videos: JSON, JSON-MIN and CSV.

In JSON, a task has ``data`` with ``prompt, video_a, video_b`` (and ``model_a, model_b``) and ``annotations``; the name
of a tag is the dimension. ``Pairwise`` knows left and right only, so ties and more come from a ``Choices`` tag of the
same name, or of that name with ``_choice`` behind it. An annotation marked as ground truth is the known answer of its
pair. ``Rating`` and ``Number`` tags are of the clip that their
``toName`` says, and named after the dimension, with ``_a``, ``_b`` or the clip's tag behind it where there are two; two
ratings on a dimension without a verdict are one. JSON-MIN and CSV have a column for each tag instead, and only their
verdicts are read. A path of Label Studio's server is looked for below the folder of the clips: of
``/data/local-files/?d=...`` what follows, of ``/data/upload/7/0a1b2c3d-cat.mp4`` the same name or ``cat.mp4``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field

from videoalign.contracts.records import Judgement, Label, Role
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import (
    Entry,
    PairEntry,
    RatingEntry,
    Side,
    SourceClip,
    clip_in,
    judged_columns,
    names_in,
    plain_dimensions,
)
from videoalign.data.formats.verdicts import (
    LABELS,
    SIDES,
    VerdictOptions,
    hint,
    known_verdicts,
    normalise_label,
    word_of,
)
from videoalign.data.formats.writing import Contents, judged_together, write_rows
from videoalign.data.judgements.votes import FINAL
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError

_BESIDE = "_choice"
_RATED = ("rating", "number")
_FLAT = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "model_a", "model_b")
"""Columns of JSON-MIN and CSV that are neither data nor tags."""


class LabelStudioOptions(VerdictOptions):
    """Settings of ``data import label-studio``."""

    clip_a: str = "video_a"
    """Field of the data with the path of the first clip, the left one."""
    clip_b: str = "video_b"
    """Field of the data with the path of the second clip."""
    prompt: str = "prompt"
    """Field of the data with the prompt."""
    tag_a: str | None = None
    """Name of the ``Video`` tag of the first clip; default: its field's, or the first of those that are compared."""
    tag_b: str | None = None
    """The same of the second clip."""
    tie_band: Annotated[float, Field(ge=0)] = 0.0
    """Two ratings by a rater that differ by this much or less are a tie; 0: only equal ones are."""


class LabelStudioImporter:
    """Reads the tasks of such an export."""

    def __init__(self, table: SourceTable, options: LabelStudioOptions) -> None:
        self.options, self.known = options, known_verdicts(options, {**LABELS, **SIDES})
        self.flat = "data" not in table.columns and "annotation_id" in table.columns
        if self.flat:
            table.require(options.prompt, options.clip_a, options.clip_b)
            taken = (options.prompt, options.clip_a, options.clip_b, *_FLAT)
            self.columns = judged_columns(table, taken, lambda text: word_of(text) in self.known, hint)
            asked = list(dict.fromkeys(column.removesuffix(_BESIDE) for column in self.columns))
        else:
            table.require("data", "annotations")
            self.tags = self._find_tags(table)
            asked = names_in(table, lambda row: [name for given in _annotations(row) for name in self._asked(given)])
        self.dimensions = plain_dimensions(options.dimensions or asked, options)
        self._names = {asked: name for name, asked in self.dimensions.items()}

    def entries(self, row: Row) -> list[Entry]:
        """See `Importer.entries`."""
        data = row if self.flat else row.fields("data")
        prompt = data.text(self.options.prompt)
        sides = {
            side: _local(clip_in(data, column, generator=data.optional(f"model_{side}")))
            for side, column in (("a", self.options.clip_a), ("b", self.options.clip_b))
        }
        found: list[Entry] = []
        for given in [row] if self.flat else _annotations(row):
            rater = given.text("annotator") if self.flat else _rater(given)
            ratings = {} if self.flat else self._ratings(given)
            labels = {**self._compared(ratings), **self._labels(given, rater)}
            seconds = given.number_or_none("lead_time")
            if labels:
                found.append(
                    PairEntry(
                        prompt=prompt,
                        clip_a=sides["a"],
                        clip_b=sides["b"],
                        rater=rater,
                        labels=labels,
                        ratings=ratings,
                        role=Role.GOLD if given.cells.get("ground_truth") else Role.RATER,
                        seconds=-1.0 if seconds is None else seconds,
                    )
                )
                continue
            for side, clip in sides.items():
                scores = {name: score for (rated, name), score in ratings.items() if rated == side}
                found += [RatingEntry(prompt=prompt, clip=clip, rater=rater, scores=scores)] if scores else []
        return found

    def _asked(self, given: Row) -> list[str]:
        """Dimensions as they are called in one annotation."""
        return [*(name for name, _ in _verdicts(given)), *(name for _, name, _ in self._rated(given))]

    def _labels(self, given: Row, rater: str) -> dict[str, Label]:
        flat = ((column.removesuffix(_BESIDE), given.optional(column)) for column in self.columns) if self.flat else ()
        labels: dict[str, Label] = {}
        for asked, text in flat if self.flat else _verdicts(given):
            name = self._names.get(asked)
            if not text or name is None:
                continue
            label = normalise_label(text, asked, self.known)
            if labels.setdefault(name, label) != label:
                raise DataError(f"{rater} says both {labels[name]} and {label} on {asked}; correct one.")
        return labels

    def _ratings(self, given: Row) -> dict[tuple[Side, str], float]:
        named = ((side, self._names.get(asked), score) for side, asked, score in self._rated(given))
        return {(side, name): score for side, name, score in named if name is not None}

    def _compared(self, ratings: Mapping[tuple[Side, str], float]) -> dict[str, Label]:
        """Verdicts on what both clips were rated for."""
        labels = {}
        for name in dict.fromkeys(name for _, name in ratings):
            one, other = ratings.get(("a", name)), ratings.get(("b", name))
            if one is not None and other is not None:
                better = Label.A if one > other else Label.B
                labels[name] = Label.TIE if abs(one - other) <= self.options.tie_band else better
        return labels

    def _rated(self, given: Row) -> Iterator[tuple[Side, str, float]]:
        """Side, dimension and score of each rating."""
        for result in given.objects("result"):
            kind = result.optional("type")
            if kind not in _RATED:
                continue
            tag, name = result.text("to_name"), result.text("from_name")
            side = next((side for side, tags in self.tags.items() if tag in tags), None)
            if side is None:
                raise DataError(f"'{name}' rates '{tag}'; say which clip that is, as in tag_a={tag} tag_b=OTHER.")
            score = result.fields("value").number_or_none(kind)
            if score is None:
                raise DataError(f"'{name}' has no {kind}; correct it.")
            yield side, re.sub(f"[_-]({re.escape(tag)}|{side})$", "", name), score

    def _find_tags(self, table: SourceTable) -> dict[Side, set[str]]:
        """Names of the ``Video`` tags by side: told, or those of the fields, or as ``Pairwise`` names them together."""
        options = self.options
        if options.tag_a is not None or options.tag_b is not None:
            return {"a": {options.tag_a or options.clip_a}, "b": {options.tag_b or options.clip_b}}
        tags: dict[Side, set[str]] = {"a": {options.clip_a}, "b": {options.clip_b}}
        for compared in names_in(table, _compared_tags):
            for side, tag in zip("ab", compared.split(","), strict=False):
                tags[side].add(tag.strip())
        if tags["a"] & tags["b"]:
            both = ", ".join(sorted(tags["a"] & tags["b"]))
            raise DataError(f"{table.location}: tags on both sides ({both}); set tag_a and tag_b.")
        return tags


def _annotations(row: Row) -> list[Row]:
    """Those that were handed in."""
    return [given for given in row.objects("annotations") if not given.cells.get("was_cancelled")]


def _compared_tags(row: Row) -> list[str]:
    results = [result for given in _annotations(row) for result in given.objects("result")]
    return [one.optional("to_name") for one in results if one.optional("type") == "pairwise"]


def _verdicts(given: Row) -> Iterator[tuple[str, str]]:
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


def _local(clip: SourceClip) -> SourceClip:
    """A clip of Label Studio's own server by the names that its file may have here."""
    parts = urlsplit(clip.path) if "/data/" in clip.path else None
    if parts is not None and parts.path.endswith("/data/local-files/") and (inside := parse_qs(parts.query).get("d")):
        return replace(clip, path=inside[0].lstrip("/"))
    found = re.search(r"/data/(upload/[0-9]+/[^/]+)$", parts.path) if parts is not None else None
    if found is None:
        return clip
    path = PurePosixPath(unquote(found[1]))
    return replace(clip, path=str(path), also=(path.name, re.sub(r"^[0-9a-f]{8}-", "", path.name)))


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
