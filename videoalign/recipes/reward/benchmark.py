"""A reward on a dataset or on the table of a benchmark, with a result that others can compare theirs with."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from videoalign.contracts.holding import held
from videoalign.contracts.output import claim_folder, fingerprint, whole_file, write_json
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import INFO_FILE, Clip
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.versions import library_versions
from videoalign.data.counts import REJECTED_FILE
from videoalign.data.dataset import Dataset, JudgedPair, flip
from videoalign.data.formats import FORMATS, find_format, import_data
from videoalign.data.formats.builder import REPEATED
from videoalign.data.people import said_only_in
from videoalign.data.source_table import READERS
from videoalign.errors import ConfigError
from videoalign.evaluation.benchmark_page import benchmark_page
from videoalign.recipes.reward.agreement import Counting, Evaluation, evaluate_on
from videoalign.video.addresses import is_address, plain_place

DATASET_FOLDER, SCORES_FOLDER = "dataset", "scores"
RESULT_FILE, PAGE_FILE = "result.json", "result.md"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a reward is evaluated on: a dataset folder, or a table with its format."""

    location: str
    """Folder of a dataset, or path or address of a CSV, JSONL or Parquet table."""
    format: str | None = None
    """Name of an importer, of a table alone."""
    clips: str | Path | None = None
    """Folder or address of a table's clips; default: the table's own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the importer."""

    @property
    def is_table(self) -> bool:
        """Whether it has to be imported.

        Raises:
            ConfigError: a table without a format, or a format, clips or settings for a dataset.
        """
        if (Path(self.location) / INFO_FILE).is_file() and (self.format or self.clips or self.options):
            raise ConfigError(f"--format, --clips, KEY=VALUE: {self.location} is a dataset already; leave them out.")
        if self.format is not None:
            find_format(self.format)
            return True
        if self.location.rpartition(".")[2].lower() in READERS:
            raise ConfigError(f"--format: missing; say what {self.location} is: {', '.join(FORMATS)}.")
        if self.clips or self.options:
            raise ConfigError("--clips, KEY=VALUE: they are of a table; say with --format what it is.")
        return False


@held
def benchmark(
    reward: RewardModel,
    target: Target,
    how: Counting,
    *,
    against: RewardModel | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Evaluates a reward on every judged pair of a dataset or table, or compares it with another on the decided ones.

    With ``out``, that folder keeps the imported table and the scores of each clip as they come, so that a run that
    stopped goes on, and gets ``result.json`` with ``result.md`` for reading. The way of counting may change from run to
    run in one folder; the reward, the table and the clips may not.

    Args:
        reward: scores the clips.
        target: what it is evaluated on.
        how: which pairs are counted, and how; ``skip_broken`` goes for rows of a table too.
        against: another reward to compare it with.
        out: output folder, of one reward alone; None keeps nothing.
        fresh: start over where ``out`` holds a run of ours.
        progress: counts rows and clips.

    Returns:
        What ``result.json`` holds; see docs/reference/results.md. A row of a table that could not be used counts as
        ``left_out`` of every dimension.

    Raises:
        ConfigError: a target without a format, or with one that it does not need.
        DataError: see `import_data` and `evaluate_on`.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    about, folder = reward.about(), None
    if out is not None:
        identity = _identity(about, target)
        folder = claim_folder(out, identity, fresh=fresh, said=said_only_in)
    times = [time.perf_counter()]
    with open_target(target, folder, skip_broken=how.skip_broken, progress=progress) as dataset:
        times.append(time.perf_counter())
        keep = folder and folder / SCORES_FOLDER
        found = evaluate_on(reward, dataset, how, against=against, keep=keep, progress=progress)
        times.append(time.perf_counter())
        left_out = _left_out(dataset, found)
        for row in found.figures.values():
            row |= found.told
            if against is None and target.is_table:
                row["left_out"] += len(left_out["rows"])
        result = {
            "reward": about,
            "dataset": _about_dataset(dataset, target, found),
            "figures": found.figures,
            "held_out": asdict(found.held_out),
            "left_out": left_out,
            "settings": {"legacy": how.legacy, "seed": how.seed, "skip_broken": how.skip_broken},
            "versions": library_versions(),
            "seconds": {"import": times[1] - times[0], "scores and figures": times[2] - times[1]},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    if folder is not None:
        with whole_file(folder / PAGE_FILE) as aside:
            aside.write_text(benchmark_page(result), encoding="utf-8")
        write_json(folder / RESULT_FILE, result)
    return result


@contextmanager
def open_target(
    target: Target, folder: Path | None, *, skip_broken: bool = False, progress: Progress = silent
) -> Iterator[Dataset]:
    """The dataset; a table is imported into ``folder``, unless it stands there whole already, or where it is removed
    again.

    Raises:
        ConfigError: see `Target.is_table`.
        DataError: see `Dataset.open` and `import_data`.
    """
    if not target.is_table:
        yield Dataset.open(target.location)
        return
    with TemporaryDirectory() as passing:
        place = (folder or Path(passing)) / DATASET_FOLDER
        if not (place / INFO_FILE).is_file() or _rejected(place):
            options = {**target.options, **({"skip_broken": True} if skip_broken else {})}
            import_data(
                str(target.format),
                target.location,
                place,
                target.clips,
                options=options,
                fresh=True,
                progress=progress,
            )
        yield Dataset.open(place)


def _identity(about: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """What the kept table and scores depend on."""
    location, clips = (_absolute(place) for place in (target.location, target.clips or ""))
    identity = {"command": "reward eval", "reward": about, "target": location}
    if not target.is_table:
        return identity
    digest = ""
    if Path(location).is_file():
        with Path(location).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return {**identity, "table": digest, "format": target.format, "clips": clips, "options": dict(target.options)}


def _absolute(place: str | Path) -> str:
    plain = plain_place(place)
    return plain if is_address(plain) or not plain else str(Path(plain).absolute())


def _about_dataset(dataset: Dataset, target: Target, found: Evaluation) -> dict[str, Any]:
    """What it is; the fingerprint is of prompts, clips and verdicts, wherever the files are, in whatever order."""
    pairs = found.pairs
    names = {clip_id for pair in pairs for clip_id in (pair.clip_a, pair.clip_b)}
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    clips = sorted(_clip_key(clip, texts[clip.prompt_id]) for clip in dataset.clips() if clip.clip_id in names)
    return {
        "name": target.location.rstrip("/").rpartition("/")[2],
        "format": target.format,
        "fingerprint": fingerprint([clips, sorted(map(_verdict, pairs))]),
        "split": found.held_out.split,
        "dimensions": list(dataset.dimensions),
        "pairs": len(pairs),
        "prompts": len({pair.prompt_id for pair in pairs}),
        "clips": len(clips),
        "provenance": dataset.info.provenance,
    }


def _clip_key(clip: Clip, prompt: str) -> str:
    """A clip's id with a short hash of the clip and its prompt, wherever the file is."""
    about = [clip.clip_id, prompt, clip.fps, clip.num_frames, clip.height, clip.width]
    return f"{clip.clip_id}:{fingerprint(about)}"


def _verdict(pair: JudgedPair) -> list[str]:
    turned = pair.clip_a > pair.clip_b
    labels = {name: label and (flip(label) if turned else label) for name, label in pair.labels.items()}
    return [*sorted([pair.clip_a, pair.clip_b]), json.dumps(labels, sort_keys=True)]


def _rejected(place: Path) -> list[dict[str, str]]:
    """Rows that an import left out, but those that say what an earlier one said."""
    return [row for row in _not_taken(place) if not row["reason"].startswith(REPEATED)]


def _not_taken(place: Path) -> list[dict[str, str]]:
    file = place / REJECTED_FILE
    rows: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return rows


def _left_out(dataset: Dataset, found: Evaluation) -> dict[str, Any]:
    """Rows and clips that could not be used, with the reason, and how many pairs went with them."""
    rows = _rejected(dataset.path)
    pairs = sum(pair.clip_a in found.broken or pair.clip_b in found.broken for pair in found.pairs)
    return {
        "pairs": pairs + len(rows),
        "repeated_rows": len(_not_taken(dataset.path)) - len(rows),
        "rows": rows,
        "clips": [{"clip": clip_id, "reason": reason} for clip_id, reason in sorted(found.broken.items())],
    }
