"""VBench's human labels of one dimension: clips of several generators for a prompt, each two compared.

Columns ``prompt_en, videos`` (address by generator) and ``human_anno``: by generator and other generator 1 where the
first is better, 0 where the other is, 0.5 for a tie. A pair that stands both ways round must say the same. The files
are named after the dimension, and so is the dimension here unless ``dimension`` names it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from videoalign.contracts.records import Label
from videoalign.data.formats.common import ImportOptions, PairEntry, clip_in, plain_dimensions
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError

_LABELS = {1.0: Label.A, 0.5: Label.TIE, 0.0: Label.B}


class VBenchHumanOptions(ImportOptions):
    """Settings of ``data import vbench-human``."""

    dimension: str | None = None
    """What was judged; default: the name of the file without its ending."""
    rater: str = "vbench"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class VBenchHumanImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VBenchHumanOptions) -> None:
        table.require("prompt_en", "videos", "human_anno")
        self.dimensions = plain_dimensions([options.dimension or PurePosixPath(table.name).stem], options)
        self.rater = options.rater

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        (dimension,) = self.dimensions
        videos, given = row.fields("videos"), row.fields("human_anno")
        found: dict[tuple[str, str], float] = {}
        for one in given.cells:
            others = given.fields(one)
            for other in others.cells:
                value = others.number_or_none(other)
                if value not in _LABELS:
                    raise DataError(
                        f"human_anno of {one} against {other} is '{others.optional(other)}'; wanted 1, 0 or 0.5."
                    )
                if found.get((other, one), 1 - value) != 1 - value:
                    raise DataError(f"human_anno says two things of {one} against {other}; correct one.")
                if (other, one) not in found:
                    found[one, other] = value
        return [
            PairEntry(
                prompt=row.text("prompt_en"),
                clip_a=clip_in(videos, one, generator=one),
                clip_b=clip_in(videos, other, generator=other),
                rater=self.rater,
                labels={dimension: _LABELS[value]},
            )
            for (one, other), value in found.items()
        ]
