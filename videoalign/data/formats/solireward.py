"""SoliReward's pairs of a better and a worse clip, which need not be of one prompt, in its three layouts.

Columns ``win, lose``, each the path of a clip, an object with ``video_path`` and ``quality``, or chat messages with one
part of the type ``video``; the quality may also stand in ``meta``, as in ``meta.win.quality``. Or columns ``messages,
rejected_response, videos, quality``, as ms-swift has them: the better clip stands first in ``videos``, and so does its
quality. Two clips of equal quality are a tie. Here every clip belongs to a prompt and pairs are made within one, so
``prompt`` must say what stands for it; all the pairs then share it, and what is judged must not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from videoalign.contracts.records import Label
from videoalign.data.formats.common import ImportOptions, PairEntry, SourceClip, clip_in, name_dimensions
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError

_SIDES = ("win", "lose")


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
        self.listed = "videos" in table.columns and "win" not in table.columns
        table.require(*(("messages", "rejected_response", "videos", "quality") if self.listed else _SIDES))
        self.dimensions = name_dimensions((options.dimensions or ())[:1], options)
        self.prompt, self.rater = options.prompt, options.rater

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        clips, qualities = _of_list(row) if self.listed else _of_sides(row)
        better, worse = clips
        return [
            PairEntry(
                prompt=self.prompt,
                clip_a=better,
                clip_b=worse,
                rater=self.rater,
                labels=dict.fromkeys(self.dimensions, _label(*qualities)),
            )
        ]


def _label(win: float | None, lose: float | None) -> Label:
    if win is None or lose is None:
        return Label.A
    if win < lose:
        raise DataError(f"the winner's quality is {win:g}, the loser's {lose:g}; correct one.")
    return Label.TIE if win == lose else Label.A


def _of_list(row: Row) -> tuple[list[SourceClip], list[float | None]]:
    videos, quality = row.items("videos"), row.items("quality")
    if len(videos) != 2 or len(quality) not in (0, 2):
        raise DataError(f"wanted two videos and the quality of each; got {len(videos)} and {len(quality)}.")
    clips = [_clip(Row(row.number, {"videos": video}), "videos") for video in videos]
    return clips, [Row(row.number, {"quality": one}).number_or_none("quality") for one in quality] or [None, None]


def _of_sides(row: Row) -> tuple[list[SourceClip], list[float | None]]:
    meta = row.fields("meta")
    told = meta.fields("quality") if isinstance(meta.cells.get("quality"), Mapping) else None
    qualities = []
    for side in _SIDES:
        places = [cell for cell in (row.cells.get(side), meta.cells.get(side)) if isinstance(cell, Mapping)]
        found = [Row(row.number, place).number_or_none("quality") for place in places]
        found += [told.number_or_none(side)] if told is not None else []
        qualities.append(next((quality for quality in found if quality is not None), None))
    return [_clip(row, side) for side in _SIDES], qualities


def _clip(row: Row, column: str) -> SourceClip:
    """The one clip in a cell."""
    cell = row.cells.get(column)
    is_file = isinstance(cell, Mapping) and cell.keys() & {"bytes", "path"}
    if is_file or not isinstance(cell, Mapping | list):
        return clip_in(row, column)
    found = list(dict.fromkeys(_videos(cell)))
    if len(found) != 1:
        raise DataError(f"column '{column}' names {len(found)} videos; wanted one.")
    return clip_in(Row(row.number, {column: found[0]}), column)


def _videos(cell: Any) -> Iterator[str]:
    """Paths of clips in an object or in chat messages."""
    if isinstance(cell, Mapping):
        for name in ("video_path", "video"):
            if isinstance(cell.get(name), str):
                yield cell[name]
        yield from _videos(cell.get("content"))
    elif isinstance(cell, list):
        for one in cell:
            yield from _videos(one)
