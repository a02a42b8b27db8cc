"""Other people's preference data: one importer or exporter a file, found through `FORMATS` and `EXPORTS`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from videoalign.contracts.output import require_nothing_said, whole_folder, write_json
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import ADDED, INFO_FILE, Aggregation, DatasetInfo
from videoalign.data.counts import REJECTED_FILE, Counts, count
from videoalign.data.dataset import Dataset
from videoalign.data.formats.arena import ArenaImporter, ArenaOptions, export_arena
from videoalign.data.formats.builder import Builder, DuplicateRow
from videoalign.data.formats.common import (
    Importer,
    ImportOptions,
    PointwiseOptions,
    describe_dimensions,
    is_bookkeeping,
)
from videoalign.data.formats.folder import FolderImporter, FolderOptions
from videoalign.data.formats.genai_bench import GenAIBenchImporter, GenAIBenchOptions
from videoalign.data.formats.label_studio import LabelStudioImporter, LabelStudioOptions, export_label_studio
from videoalign.data.formats.mj_bench import MJBenchImporter, MJBenchOptions
from videoalign.data.formats.pairs import PairsImporter, PairsOptions, export_aggregated, export_pairs
from videoalign.data.formats.potato import PotatoImporter, PotatoOptions
from videoalign.data.formats.rapidata import RapidataImporter, RapidataOptions
from videoalign.data.formats.ratings import RatingsImporter, RatingsOptions
from videoalign.data.formats.rewardbench import RewardBenchImporter, RewardBenchOptions, export_rewardbench
from videoalign.data.formats.sharegpt import export_sharegpt, export_sharegpt_sft
from videoalign.data.formats.solireward import SoliRewardImporter, SoliRewardOptions
from videoalign.data.formats.uve_bench import UVEBenchImporter, UVEBenchOptions
from videoalign.data.formats.va_judger import VAJudgerImporter, VAJudgerOptions
from videoalign.data.formats.vbench_human import VBenchHumanImporter, VBenchHumanOptions
from videoalign.data.formats.videoalign import VideoAlignImporter, VideoAlignOptions, export_videoalign
from videoalign.data.formats.videodpo import VideoDPOImporter, VideoDPOOptions, export_dpo
from videoalign.data.formats.videofeedback import VideoFeedbackImporter, VideoFeedbackOptions
from videoalign.data.formats.videofeedback2 import VideoFeedback2Importer, VideoFeedback2Options
from videoalign.data.formats.visionreward import VisionRewardImporter, VisionRewardOptions, export_visionreward
from videoalign.data.formats.worldreward_bench import WorldRewardBenchImporter, WorldRewardBenchOptions
from videoalign.data.people import said_only_in
from videoalign.data.rows import ColumnWatch
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import ConfigError, DataError, OutputError, VideoError, did_you_mean
from videoalign.video.addresses import unsigned

_WATCHED_ROWS = 100
"""Rows from which it is told what columns were not read."""


class Format(NamedTuple):
    """An importer and the settings that it understands."""

    options: type[ImportOptions]
    importer: Callable[[SourceTable, Any], Importer]


FORMATS: dict[str, Format] = {
    "videoalign": Format(VideoAlignOptions, VideoAlignImporter),
    "rewardbench": Format(RewardBenchOptions, RewardBenchImporter),
    "genai-bench": Format(GenAIBenchOptions, GenAIBenchImporter),
    "videofeedback": Format(VideoFeedbackOptions, VideoFeedbackImporter),
    "videofeedback2": Format(VideoFeedback2Options, VideoFeedback2Importer),
    "visionreward": Format(VisionRewardOptions, VisionRewardImporter),
    "videodpo": Format(VideoDPOOptions, VideoDPOImporter),
    "rapidata": Format(RapidataOptions, RapidataImporter),
    "mj-bench": Format(MJBenchOptions, MJBenchImporter),
    "vbench-human": Format(VBenchHumanOptions, VBenchHumanImporter),
    "uve-bench": Format(UVEBenchOptions, UVEBenchImporter),
    "va-judger": Format(VAJudgerOptions, VAJudgerImporter),
    "worldreward-bench": Format(WorldRewardBenchOptions, WorldRewardBenchImporter),
    "solireward": Format(SoliRewardOptions, SoliRewardImporter),
    "arena": Format(ArenaOptions, ArenaImporter),
    "potato": Format(PotatoOptions, PotatoImporter),
    "label-studio": Format(LabelStudioOptions, LabelStudioImporter),
    "ratings": Format(RatingsOptions, RatingsImporter),
    "pairs": Format(PairsOptions, PairsImporter),
    "folder": Format(FolderOptions, FolderImporter),
}

EXPORTS: dict[str, Callable[..., int]] = {
    "videoalign": export_videoalign,
    "rewardbench": export_rewardbench,
    "pairs": export_pairs,
    "aggregated": export_aggregated,
    "visionreward": export_visionreward,
    "dpo": export_dpo,
    "sharegpt": export_sharegpt,
    "sharegpt-sft": export_sharegpt_sft,
    "label-studio": export_label_studio,
    "arena": export_arena,
}

VERDICTS_KEPT = {"pairs", "label-studio", "arena"}
"""Exporters that write single verdicts, with whose they are, rather than one label a pair."""


def find_format(name: str) -> Format:
    """The importer of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"FORMAT: no importer '{name}'.{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def import_data(
    format: str,
    source: str | Path,
    out: str | Path,
    clips: str | Path | None = None,
    *,
    options: ImportOptions | Mapping[str, Any] | None = None,
    fresh: bool = False,
    progress: Progress = silent,
    on_note: Callable[[str], None] = lambda _: None,
) -> Counts:
    """Makes a dataset folder from somebody's table, whole or not at all.

    Every clip is opened and its packets read. A row that repeats an earlier one (also with A and B exchanged) is
    left out and listed under ``rejected``.

    Args:
        format: a name of `FORMATS`.
        source: CSV, JSONL or Parquet; a path or an address that fsspec reads.
        out: folder to make.
        clips: what relative paths in the table start from; default: the table's folder.
        options: settings of this importer, as an object of its class or a dictionary.
        fresh: replace a dataset that is there, unless people said something in it that stands in no imported table.
        progress: counts rows.
        on_note: called with what is worth knowing of the clips: how many do not play in every browser.

    Raises:
        ConfigError: unknown format or setting.
        DataError: a row cannot be used (says file and line), unless ``skip_broken`` is set; or no row can. Of missing
            and broken clips it says how many there are.
        OutputError: ``out`` holds something already, or something that people said, or cannot be written.
    """
    found = find_format(format)
    if not isinstance(options, ImportOptions):
        options = found.options.build_from(dict(options or {}))
    out = Path(out)
    _require_free(out, fresh)
    table = SourceTable.open(source)
    importer = found.importer(table, options)
    info = DatasetInfo(
        dimensions=describe_dimensions(list(importer.dimensions), options),
        provenance={
            "format": format,
            "source": unsigned(table.location),
            "options": options.model_dump_json(exclude_unset=True),
        },
    )
    with whole_folder(out, said=said_only_in) as aside:
        dataset = Dataset.create(aside, info)
        builder = Builder(dataset, str(clips) if clips is not None else table.folder, table.name, options)
        watch = ColumnWatch()
        rejected = _take_rows(table, importer, builder, options, watch, progress)
        if isinstance(options, PointwiseOptions):
            builder.derive_judgements(options.tie_band)
        builder.finish(on_note)
        if rejected:
            write_json(aside / REJECTED_FILE, rejected)
    not_read = {name: text for name, text in watch.unread().items() if not is_bookkeeping(name)}
    return replace(count(Dataset.open(out)), not_read=not_read)


def export_data(format: str, dataset: Dataset, out: str | Path, aggregate: Aggregation | str | None = None) -> int:
    """Writes a dataset as another tool's table and returns the number of rows.

    Args:
        format: a name of `EXPORTS`.
        dataset: is only read.
        out: table to write; its ending says the layout.
        aggregate: how the label of a pair comes from what was said of it, see `Aggregation`; default: adjudicated.

    Raises:
        ConfigError: unknown format or rule, or a rule for a format that writes single verdicts.
        DataError: nothing to write.
        OutputError: ``out`` is a table that the dataset came from or is made of, the disk is full or the place cannot
            be written.
    """
    if format not in EXPORTS:
        raise ConfigError(f"FORMAT: no exporter '{format}'.{did_you_mean(format, EXPORTS)}")
    _require_no_source(dataset, out)
    if aggregate is None:
        return EXPORTS[format](dataset, Path(out))
    if aggregate not in set(Aggregation):
        raise ConfigError(f"--aggregate: no rule '{aggregate}'.{did_you_mean(aggregate, Aggregation)}")
    if format in VERDICTS_KEPT:
        labelled = ", ".join(name for name in EXPORTS if name not in VERDICTS_KEPT)
        raise ConfigError(
            f"--aggregate: {format} holds single verdicts, not one label a pair; leave it out, or export {labelled}."
        )
    return EXPORTS[format](dataset, Path(out), Aggregation(aggregate))


def _require_no_source(dataset: Dataset, out: str | Path) -> None:
    """What somebody handed in holds more than any export of it."""
    provenance = dataset.info.provenance
    sources = [provenance.get("source", ""), *json.loads(provenance.get(ADDED, "[]"))]
    if any(os.path.realpath(source) == os.path.realpath(out) for source in sources if source):
        raise OutputError(f"--out: {out} is the table that {dataset.path} was imported from; give another file.")


class Described(NamedTuple):
    """A format in one line."""

    name: str
    what: str


class Formats(NamedTuple):
    """What `describe_formats` gives."""

    importers: list[Described]
    exporters: list[Described]


def describe_formats() -> Formats:
    """Every importer and exporter with the first line of what its code says of itself."""
    return Formats(
        [Described(name, _first_line(sys.modules[found.options.__module__])) for name, found in FORMATS.items()],
        [Described(name, _first_line(export)) for name, export in EXPORTS.items()],
    )


def _first_line(described: object) -> str:
    return (described.__doc__ or "").strip().partition("\n")[0].replace("``", "")


def _require_free(out: Path, fresh: bool) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / INFO_FILE).is_file():
            raise OutputError(f"--out: {out} holds files that are no dataset; give a new or empty folder.")
        if not fresh:
            raise OutputError(f"--out: {out} holds a dataset already; give another folder, or --add to add to it.")
        require_nothing_said(out, said_only_in)
    elif out.exists() and not out.is_dir():
        raise OutputError(f"--out: {out} is a file; give a folder.")


def _take_rows(
    table: SourceTable,
    importer: Importer,
    builder: Builder,
    options: ImportOptions,
    watch: ColumnWatch,
    progress: Progress,
) -> list[dict[str, str]]:
    rejected: dict[tuple[str, str], None] = {}
    broken: dict[str, str] = {}

    def take(row: Row, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except DataError as error:
            where = f"{table.name}:{row.place}"
            if not options.skip_broken and not isinstance(error, DuplicateRow | VideoError):
                raise type(error)(f"{where}: {error} Mend it, or leave such rows out with --skip-broken.") from None
            if not options.skip_broken and isinstance(error, VideoError):
                broken.setdefault(str(error), where)
            rejected[where, str(error)] = None

    with progress(f"reading {table.name}", table.num_rows) as step:
        for number, row in enumerate(table.rows):
            seen = watch.over(row) if number < _WATCHED_ROWS else row
            for entry in take(row, partial(importer.entries, seen)) or ():
                take(row, partial(builder.add, row.number, entry))
            step()
    if broken:
        raise VideoError(_all_broken(broken))
    if not builder.num_clips:
        reason = next(iter(rejected), ("", "no row says anything."))[1]
        raise DataError(f"{table.location}: no row can be used; the first one: {reason}")
    return [{"row": where, "reason": reason} for where, reason in rejected]


def _all_broken(broken: dict[str, str]) -> str:
    """One line about every clip that cannot be used, from what is wrong with it to the row that it stands in first."""
    (error, where), *more = broken.items()
    names = [error.partition(": ")[0] for error, _ in more]
    shown = ", ".join([*names[:4], *(["..."] if len(names) > 4 else [])])
    others = f" and {len(names)} other clips ({shown})" if names else ""
    return f"{where}: {error} Mend it{others}, or leave such rows out with --skip-broken."
