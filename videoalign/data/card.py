"""The page that makes a dataset folder a dataset of the Hugging Face hub."""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from videoalign.contracts.output import whole_file
from videoalign.contracts.records import ADDED, INFO_FILE, Clip, Judgement, Rating
from videoalign.data.counts import Counts, count
from videoalign.data.dataset import Dataset
from videoalign.data.judgements.agreement import measure_agreement
from videoalign.data.tables import read_columns
from videoalign.errors import OutputError

CARD_FILE = "README.md"
ALLOW_FILE = ".gitignore"
"""Says what of the folder is published: git and the hub leave everything else out."""

_TABLES = ("judgements", "prompts", "clips", "ratings")
_MARK = "<!-- written by videoalign data card -->"
_ALLOW_MARK = "# Written by videoalign data card: only what is named here is published."
_MOST_FOR_AGREEMENT = 200_000
"""Judgements up to which agreement is measured; with more it takes too long for a page."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(dataset: Dataset, licence: str | None = None) -> Path:
    """Writes ``README.md`` into the folder and returns its path; `datasets.load_dataset` then finds each table.

    Beside it stands ``.gitignore``, which names what is published (see `published`) and leaves out everything else.

    Args:
        dataset: to be described.
        licence: as the hub names it; None leaves the line to whoever publishes the data.

    Raises:
        OutputError: there is a README.md or .gitignore that somebody else wrote, or the place cannot be written.
    """
    path = dataset.path / CARD_FILE
    for file, mark in ((path, _MARK), (dataset.path / ALLOW_FILE, _ALLOW_MARK)):
        if file.exists() and mark not in file.read_text(encoding="utf-8", errors="replace"):
            raise OutputError(f"{file}: was written by somebody else; move it away first.")
    counts = count(dataset)
    header = yaml.safe_dump(_header(dataset, counts, licence), sort_keys=False, allow_unicode=True)
    with whole_file(path) as aside:
        aside.write_text(f"---\n{header}---\n\n{_MARK}\n\n{_body(dataset, counts, licence)}", encoding="utf-8")
    with whole_file(dataset.path / ALLOW_FILE) as aside:
        aside.write_text("\n".join([_ALLOW_MARK, "/*", *_allowed(dataset), ""]), encoding="utf-8")
    return path


def published(dataset: Dataset) -> list[str]:
    """What of the folder may be published, as patterns for ``hf upload --include``: the tables and the clips, and
    neither databases, comments and notes nor what can be computed anew."""
    clips = (f"{glob.escape(folder)}/*{ending}" if folder else f"*{ending}" for folder, ending in _clip_places(dataset))
    return [*_published_files(dataset), *clips]


def _published_files(dataset: Dataset) -> list[str]:
    return [CARD_FILE, ALLOW_FILE, INFO_FILE, *(one["data_files"][0]["path"] for one in configs(dataset))]


def _allowed(dataset: Dataset) -> Iterator[str]:
    """Lines of .gitignore that let these through again; below a folder everything is left out first."""
    files, places = _published_files(dataset), _clip_places(dataset)
    for folder in sorted({name.partition("/")[0] for name in files if "/" in name} | {top for top, _ in places if top}):
        yield from (f"!/{_plain(folder)}/", f"/{_plain(folder)}/**", f"!/{_plain(folder)}/**/")
    yield from (f"!/{_plain(name)}" for name in files)
    yield from (f"!/{_plain(top)}/**/*{ending}" if top else f"!/*{ending}" for top, ending in places)


def _plain(name: str) -> str:
    """A name in which no sign has a meaning for git."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", name)


def _clip_places(dataset: Dataset) -> list[tuple[str, str]]:
    """In which folders of the dataset files that its tables name are, empty for the dataset's own, and how they end."""
    media = [prompt.media for prompt in dataset.prompts() if prompt.media]
    paths = [PurePath(path) for path in (*_clip_paths(dataset), *media) if "://" not in path]
    return sorted(
        {(path.parts[0] if len(path.parts) > 1 else "", path.suffix) for path in paths if not path.is_absolute()}
    )


def addresses_among_raters(dataset: Dataset) -> int:
    """How many raters are named by what looks like an e-mail address, in the tables as they were imported."""
    raters = {
        rater
        for record in (Judgement, Rating)
        for part in read_columns(dataset.table_path(record), record, ["rater"])
        for rater in part["rater"].unique().to_pylist()
    }
    return sum("@" in rater for rater in raters)


def configs(dataset: Dataset) -> list[dict[str, Any]]:
    """Each table as the hub wants it, ``{config_name, data_files}``; the first is the one that is shown."""
    tables = [name for name in _TABLES if (dataset.path / f"{name}.parquet").is_file()]
    named = [f"{kind}/{name}" for kind in ("pairs", "scores") for name in dataset.names(kind)]
    found: list[dict[str, Any]] = [
        {"config_name": name.replace("/", "_"), "data_files": [{"split": "train", "path": f"{name}.parquet"}]}
        for name in (*tables, *named)
    ]
    if found:
        found[0]["default"] = True
    return found


def _header(dataset: Dataset, counts: Counts, licence: str | None) -> dict[str, Any]:
    rows = max(counts.judgements, counts.ratings, counts.clips)
    size = next((name for limit, name in _SIZES if rows < limit), "n>1M")
    return {
        **({"license": licence} if licence else {}),
        "pretty_name": dataset.path.resolve().name,
        "task_categories": ["text-to-video"],
        "tags": ["human preferences", "video generation", "reward model", "videoalign"],
        "size_categories": [size],
        "configs": configs(dataset),
    }


def _body(dataset: Dataset, counts: Counts, licence: str | None) -> str:
    what = {"prompts": counts.prompts, "clips": counts.clips, "pairs": counts.pairs}
    what |= {"judgements": counts.judgements, "ratings": counts.ratings, "raters": counts.raters}
    what |= {f"prompts in split {split}": number for split, number in counts.splits.items()}
    sections = [
        f"# {dataset.path.resolve().name}",
        "What people said about generated videos: which of two clips of a prompt is better, dimension by dimension.",
        _table(["what", "number"], what.items()),
        "## Dimensions",
        _table(
            ["dimension", "what raters looked at", "depends on the prompt"],
            [(one.name, one.guideline, "yes" if one.sees_prompt else "no") for one in dataset.info.dimensions],
        ),
        "## Judgements",
        _table(
            ["dimension", *next(iter(counts.labels.values()), ())],
            [(name, *numbers.values()) for name, numbers in counts.labels.items()],
        ),
        *_agreement(dataset, counts),
        "## Generators",
        _table(["generator", "clips"], [(name or "unknown", number) for name, number in counts.generators.items()]),
        "## Where the data come from",
        _table(["what", "value"], _provenance(dataset)) if dataset.info.provenance else "Nothing is known.",
        _where_clips_are(dataset),
        "" if licence else "The licence is not stated yet: add a line `license:` to the header of this page.",
        "## How to load",
        _how_to_load(dataset),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _provenance(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """What is known, but of a file on this machine only its name."""
    for what, value in dataset.info.provenance.items():
        if what == ADDED:
            yield what, ", ".join(map(_source_name, json.loads(value)))
        else:
            yield what, _source_name(value) if what == "source" else value


def _source_name(source: str) -> str:
    return source if "://" in source else PurePath(source).name


def _clip_paths(dataset: Dataset) -> list[str]:
    parts = read_columns(dataset.table_path(Clip), Clip, ["path"])
    return [path for part in parts for path in part["path"].to_pylist()]


def _where_clips_are(dataset: Dataset) -> str:
    paths = _clip_paths(dataset)
    outside = sum(PurePath(path).is_absolute() for path in paths)
    if not outside:
        return ""
    return (
        f"{outside} of the {len(paths)} clips are not in this folder; `clips.path` says where they were on the machine "
        "that made it. To publish them too, import again with `copy_clips=true`."
    )


def _agreement(dataset: Dataset, counts: Counts) -> Iterator[str]:
    if counts.raters < 2 or not 0 < counts.judgements <= _MOST_FOR_AGREEMENT:
        return
    measured = measure_agreement(dataset.stream_judgements(), dataset.dimensions, num=500)
    rows = [
        (name, one.shared_pairs, *(_number(value) for value in (*one.alpha_ordinal, one.raw.with_ties)))
        for name, one in measured.items()
        if one.shared_pairs
    ]
    if rows:
        yield "## Agreement of the raters"
        names = ["dimension", "pairs of two raters or more", "Krippendorff's alpha (ordinal)", "from", "to"]
        yield _table([*names, "two raters say the same"], rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _how_to_load(dataset: Dataset) -> str:
    lines = ["```python", "from datasets import load_dataset", ""]
    lines += [
        f'{re.sub("[^A-Za-z0-9]", "_", name)} = load_dataset("PATH", "{name}", split="train")'
        for name in (one["config_name"] for one in configs(dataset))
    ]
    return "\n".join(
        [
            *lines,
            "```",
            "",
            "`PATH` is this folder or its name on the hub. `clips.path` starts from this folder where it is not "
            "absolute; `judgements.clip_a` and `clip_b` are ids of `clips`, whose `prompt_id` is one of `prompts`. "
            'With videoalign: `Dataset.open("PATH")`.',
            "",
            "A judgement is what one `rater` said of one pair on one dimension: `label` is `A` or `B` for the better "
            "clip, `tie`, `both_bad`, or `invalid` where the pair could not be judged. `role` is `rater` for a vote, "
            "`repeat` for a second look, `qualification` or `hidden_gold` for an answer that tests the rater, "
            "`adjudicator` for a last word and `gold` for a known answer, which both are labels. `left` is the clip "
            "that stood on the left, empty where unknown; `seconds` is the time taken, -1 where unknown; `guideline` "
            "is the version of the dimension's guideline that it was given under, 0 where unknown.",
        ]
    )


def _table(columns: Sequence[str], rows: Any) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
