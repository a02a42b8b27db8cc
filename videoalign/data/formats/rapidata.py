"""Rapidata's tables of many votes on pairs, and the results of its jobs: every vote is kept where the table has them.

Tables: columns ``prompt``, ``file_name1, file_name2`` or ``video1, video2``, optionally ``model1, model2`` or
``source1, source2``, ``prompt_asset``, and for each dimension, as ``Preference``, ``weighted_results1_Preference,
weighted_results2_Preference`` and ``detailedResults_Preference``, a list of votes or the JSON of one. Results of a
job (JSON): ``results`` with ``context``, ``assetUrls`` and ``detailedResults``. Votes are not signed: the k-th vote
on a pair is kept under the name of rater k, who is not the same person from pair to pair. Without votes, or with
``votes=false``, the weighted shares decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from videoalign.contracts.records import Label
from videoalign.data.formats.common import (
    ImportOptions,
    PairEntry,
    SourceClip,
    clip_in,
    media_in,
    optional_column,
    plain_dimensions,
)
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError

_SHARE, _VOTES = "weighted_results1_", "detailedResults_"
_CLIPS = (("file_name1", "file_name2"), ("video1", "video2"), ("file_name_1", "file_name_2"))
_MODELS = (("model1", "model2"), ("source1", "source2"), ("model_1", "model_2"))


class RapidataOptions(ImportOptions):
    """Settings of ``data import rapidata``."""

    rater: str = "rapidata"
    """Name under which verdicts are kept; of votes, the beginning of the names."""
    votes: bool = True
    """Keep each vote where the table has them; false: one verdict a pair, from the weighted shares."""
    tie_band: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Weighted shares that differ by this much or less are a tie; votes are never ties."""
    media: str | None = "prompt_asset"
    """Column with the picture or clip that was asked with beside the prompt; may be absent."""
    dimension: str = "Preference"
    """What the job of a result file asked; tables name their dimensions themselves."""


class RapidataImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: RapidataOptions) -> None:
        self.rater, self.votes, self.tie_band = options.rater, options.votes, options.tie_band
        self.media = optional_column(table, options, "media")
        self.is_job = "assetUrls" in table.columns
        if self.is_job:
            table.require("context")
            self.dimensions = plain_dimensions([options.dimension], options)
            return
        clips = next((pair for pair in _CLIPS if pair[0] in table.columns), _CLIPS[0])
        table.require("prompt", *clips)
        self.clips = clips
        self.models = next((pair for pair in _MODELS if pair[0] in table.columns), None)
        asked = [
            column.removeprefix(prefix)
            for prefix in (_SHARE, _VOTES)
            for column in table.columns
            if column.startswith(prefix)
        ]
        if not asked:
            table.require(f"{_SHARE}Preference")
        self.dimensions = plain_dimensions(options.dimensions or list(dict.fromkeys(asked)), options)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        clip_a, clip_b, prompt = self._clips(row)
        names, media = [clip_a.path, clip_b.path], media_in(row, self.media)
        return [
            PairEntry(prompt=prompt, clip_a=clip_a, clip_b=clip_b, rater=rater, labels={dimension: label}, media=media)
            for dimension, asked in self.dimensions.items()
            for rater, label in self._verdicts(row, asked, names)
        ]

    def _clips(self, row: Row) -> tuple[SourceClip, SourceClip, str]:
        if self.is_job:
            assets = row.items("assetUrls")
            if len(assets) != 2 or not all(assets):
                raise DataError("column 'assetUrls' must name two clips.")
            clip_a, clip_b = (clip_in(Row(row.number, {"assetUrls": asset}), "assetUrls") for asset in assets)
            return clip_a, clip_b, row.text("context")
        models = [row.optional(column) for column in self.models] if self.models else ["", ""]
        clip_a, clip_b = (
            clip_in(row, column, generator=model) for column, model in zip(self.clips, models, strict=True)
        )
        return clip_a, clip_b, row.text("prompt")

    def _verdicts(self, row: Row, asked: str, names: Sequence[str]) -> Iterator[tuple[str, Label]]:
        votes = row.objects("detailedResults" if self.is_job else f"{_VOTES}{asked}") if self.votes else []
        for number, vote in enumerate(votes, start=1):
            yield f"{self.rater}-{number}", (Label.A, Label.B)[_side(vote.text("votedFor"), names)]
        if votes:
            return
        shares = self._shares(row, asked, names)
        if min(shares) < 0 or sum(shares) <= 0:
            raise DataError(f"the weighted results of {asked} must not be negative, nor both 0; got {shares}.")
        difference = (shares[0] - shares[1]) / sum(shares)
        tie, better = abs(difference) <= self.tie_band, Label.A if difference > 0 else Label.B
        yield self.rater, Label.TIE if tie else better

    def _shares(self, row: Row, asked: str, names: Sequence[str]) -> list[float]:
        if self.is_job:
            ratios = row.fields("summedUserScoresRatios")
            by_side = {_side(name, names): ratios.number_or_none(name) for name in ratios.cells}
            shares = [by_side.get(side) for side in (0, 1)]
        else:
            shares = [row.number_or_none(f"weighted_results{side}_{asked}") for side in (1, 2)]
        known = [share for share in shares if share is not None]
        if len(known) < 2:
            raise DataError(f"there is neither a vote nor a weighted result for each clip on {asked}.")
        return known


def _side(voted: str, names: Sequence[str]) -> int:
    """0 or 1, by the name of the file, with or without its folder and ending.

    Raises:
        DataError: it is neither, or could be both.
    """
    for form in (str, lambda name: PurePosixPath(name).name, lambda name: PurePosixPath(name).stem):
        found = [side for side, name in enumerate(names) if form(name) == form(voted)]
        if len(found) == 1:
            return found[0]
    raise DataError(f"a vote is for '{voted}', which is neither {names[0]} nor {names[1]}; set votes=false.")
