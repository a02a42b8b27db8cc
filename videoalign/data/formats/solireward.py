"""SoliReward's pairs of a better and a worse clip, which need not be of one prompt.

Columns ``win, lose``. Here every clip belongs to a prompt and pairs are made within one, so ``prompt`` must say what
stands for it; all the pairs then share it, and what is judged must not depend on it. ``meta`` is not read.
"""

from __future__ import annotations

from videoalign.contracts.records import Label
from videoalign.data.formats.common import ImportOptions, PairEntry, SourceClip, name_dimensions
from videoalign.data.formats.source import Row, SourceTable


class SoliRewardOptions(ImportOptions):
    """Settings of ``data import solireward``."""

    prompt: str
    """What stands for the prompts, which the table does not have, as in ``a video``."""
    dimensions: tuple[str, ...] | None = ("quality",)
    """Name of what is judged; one."""
    sees_prompt: tuple[str, ...] | None = ()
    """Dimensions whose judgement depends on the prompt; none here."""
    rater: str = "solireward"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class SoliRewardImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: SoliRewardOptions) -> None:
        table.require("win", "lose")
        self.dimensions = name_dimensions((options.dimensions or ())[:1], options)
        self.prompt, self.rater = options.prompt, options.rater

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        return [
            PairEntry(
                prompt=self.prompt,
                clip_a=SourceClip(path=row.text("win")),
                clip_b=SourceClip(path=row.text("lose")),
                rater=self.rater,
                labels=dict.fromkeys(self.dimensions, Label.A),
            )
        ]
