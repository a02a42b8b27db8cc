"""The dataset folder: prompts, clips and what people said about them, in files that pandas and DuckDB open as they are.

dataset.json                                      schema version, dimensions, provenance
prompts.parquet  clips.parquet  judgements.parquet  ratings.parquet
scores/<reward>.parquet  pairs/<name>.parquet  latents/<model>/
clips/*.mp4
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from videoalign.contracts.output import fingerprint, write_json
from videoalign.contracts.records import (
    INFO_FILE,
    SCHEMA_VERSION,
    Aggregation,
    Clip,
    DatasetInfo,
    Judgement,
    Label,
    Prompt,
    Rating,
    WinLosePair,
)
from videoalign.contracts.video import Video
from videoalign.data.additions import Splits, alone, joined, require_known
from videoalign.data.clip_content import require_judged
from videoalign.data.judgements.aggregate import JudgedPair, aggregate_pairs
from videoalign.data.judgements.whole_pairs import whole_pairs
from videoalign.data.known import Known
from videoalign.data.scores import ScoreTable
from videoalign.data.tables import read_records, read_schema, read_table, stream_records, write_records, write_table
from videoalign.errors import DataError, OutputError, did_you_mean
from videoalign.stores.opening import entry_of, origin_of
from videoalign.video.addresses import is_address
from videoalign.video.files import Choose, read_video

CLIP_FOLDER, LATENTS_FOLDER = "clips", "latents"

_DIGEST = b"reward_digest"

_FLIPPED: dict[str, Label] = {**{label: label for label in Label}, Label.A: Label.B, Label.B: Label.A}


def prompt_id_of(text: str) -> str:
    """The id of a prompt: the same wherever the same text comes from."""
    return f"p-{fingerprint(text)}"


def prompt_id_with(text: str, media_key: str) -> str:
    """The id of a prompt that was asked with a picture or a clip beside the text, of which the key stands for the
    content."""
    return f"p-{fingerprint([text, media_key])}"


def flip(label: str) -> Label:
    """The same verdict with the clips exchanged."""
    return _FLIPPED.get(label) or Label(label)


class Dataset:
    """One dataset folder. Tables are read from disk at each call and written whole."""

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def create(cls, path: str | Path, info: DatasetInfo, exist_ok: bool = False) -> Self:
        """A new, empty dataset; with ``exist_ok`` the one that is there, when it has the same dimensions.

        Raises:
            DataError: a dimension's name is not made of letters, digits and underscore, or stands twice.
            OutputError: there is a dataset already, or one with other dimensions.
        """
        path = Path(path)
        names = [dimension.name for dimension in info.dimensions]
        _require_names(names)
        if (path / INFO_FILE).exists():
            if not exist_ok:
                raise OutputError(f"{path}: holds a dataset already; give another folder.")
            have = cls.open(path)
            if have.dimensions != tuple(names):
                raise OutputError(
                    f"{path}: holds a dataset with dimensions {', '.join(have.dimensions)}; "
                    f"wanted {', '.join(names)}. Give another folder."
                )
            return have
        write_json(path / INFO_FILE, info.model_dump(mode="json"))
        return cls(path, info)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The dataset in a folder.

        Raises:
            DataError: no dataset there, one of a later version, or one whose ``dataset.json`` names no dimension or one
                that `create` refuses.
            ConfigError: its ``dataset.json`` does not fit.
        """
        path = Path(path)
        file = path / INFO_FILE
        if not file.is_file():
            raise DataError(
                f"{path}: no dataset here ({INFO_FILE} is missing); make one with 'videoalign data import'."
            )
        info = DatasetInfo.load(file)
        if not info.model_fields_set or not info.dimensions:
            raise DataError(f"{file}: names no dimension; wanted one at least. Put it back, or import the data again.")
        if info.schema_version > SCHEMA_VERSION:
            raise DataError(
                f"{path}: has schema version {info.schema_version}; this videoalign reads up to {SCHEMA_VERSION}. "
                "Update videoalign."
            )
        _require_names([dimension.name for dimension in info.dimensions], f"{file}: ")
        return cls(path, info)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of what is judged, in order."""
        return tuple(dimension.name for dimension in self.info.dimensions)

    def table_path(self, record: type) -> Path:
        """Where the table of a record class is; it may be absent."""
        return self.path / f"{record.__name__.lower()}s.parquet"

    def prompts(self) -> list[Prompt]:
        """All prompts."""
        return read_records(self.path / "prompts.parquet", Prompt)

    def clips(self) -> list[Clip]:
        """All clips."""
        return read_records(self.path / "clips.parquet", Clip)

    def judgements(self) -> list[Judgement]:
        """All judgements, raw."""
        return read_records(self.path / "judgements.parquet", Judgement)

    def stream_judgements(self, *, strangers: bool = False) -> Iterator[Judgement]:
        """Raw judgements one after the other; those before are not held. Without ``strangers`` only those whose prompt
        and clips are in the dataset."""
        rows = stream_records(self.path / "judgements.parquet", Judgement)
        return rows if strangers else filter(Known.read(self.path).judgement, rows)

    def judgements_by_pair(self, *, strangers: bool = False) -> Iterator[list[Judgement]]:
        """As `stream_judgements`, in parts that hold everything that was said of their pairs; see `whole_pairs`.

        Raises:
            DataError: without ``strangers``, a clip that was replaced since it was judged.
        """
        if not strangers:
            require_judged(self)
        return self._by_pair(strangers)

    def _by_pair(self, strangers: bool) -> Iterator[list[Judgement]]:
        parts = whole_pairs(self.path / "judgements.parquet")
        if strangers:
            return parts
        known = Known.read(self.path).judgement
        return (here for part in parts if (here := list(filter(known, part))))

    def stream_ratings(self, *, strangers: bool = False) -> Iterator[Rating]:
        """Raw ratings one after the other. Without ``strangers`` only those whose clip is in the dataset."""
        rows = stream_records(self.path / "ratings.parquet", Rating)
        return rows if strangers else filter(Known.read(self.path).rating, rows)

    def ratings(self) -> list[Rating]:
        """All ratings, raw."""
        return read_records(self.path / "ratings.parquet", Rating)

    def write_prompts(self, rows: Iterable[Prompt]) -> None:
        """Replaces the table."""
        write_records(self.path / "prompts.parquet", Prompt, rows)

    def write_clips(self, rows: Iterable[Clip]) -> None:
        """Replaces the table."""
        write_records(self.path / "clips.parquet", Clip, rows)

    def write_judgements(self, rows: Iterable[Judgement]) -> None:
        """Replaces the table."""
        write_records(self.path / "judgements.parquet", Judgement, rows)

    def write_ratings(self, rows: Iterable[Rating]) -> None:
        """Replaces the table."""
        write_records(self.path / "ratings.parquet", Rating, rows)

    def own_prompts(self, prompts: Iterable[str | Prompt]) -> list[Prompt]:
        """Prompts as this dataset holds them: one whose text is there keeps its id and split, whatever ids are now; a
        text that is new but for capitals and spacing joins the split of the one that is there."""
        have = self.prompts()
        known, splits = {prompt.text: prompt for prompt in reversed(have) if not prompt.media}, Splits(have)
        given = [one if isinstance(one, Prompt) else Prompt(prompt_id=prompt_id_of(one), text=one) for one in prompts]
        return [(None if one.media else known.get(one.text)) or splits.joined(one) for one in given]

    def add(
        self,
        *,
        prompts: Iterable[Prompt] = (),
        clips: Iterable[Clip] = (),
        judgements: Iterable[Judgement] = (),
        ratings: Iterable[Rating] = (),
    ) -> None:
        """Appends what is new; a prompt keeps its split, no row is repeated. One writer waits for another.

        Raises:
            DataError: an id that is there with something else, a clip of an unknown prompt, a judgement or rating of an
                unknown clip, dimension, label or role.
            OutputError: the folder cannot be written.
        """
        with alone(self.path):
            all_prompts = joined(self.prompts(), prompts, lambda row: row.prompt_id, kept=("split", "dealt"))
            all_clips = joined(self.clips(), clips, lambda row: row.clip_id)
            judgements, ratings = list(judgements), list(ratings)
            require_known(all_prompts, all_clips, [*judgements, *ratings], self.require_dimension)
            self.write_prompts(all_prompts)
            self.write_clips(all_clips)
            if judgements:
                self.write_judgements(dict.fromkeys([*self.judgements(), *judgements]))
            if ratings:
                self.write_ratings(dict.fromkeys([*self.ratings(), *ratings]))

    def require_dimension(self, name: str, what: str) -> None:
        """Checks that the dataset judges this dimension.

        Raises:
            DataError: it does not; ``what`` says who asked.
        """
        if name not in self.dimensions:
            raise DataError(f"{what}: unknown dimension '{name}'.{did_you_mean(name, self.dimensions)}")

    def asked(self, prompt: Prompt) -> Prompt:
        """A prompt of the dataset with what it is asked with, if anything, at a place that can be read as it stands."""
        return replace(prompt, media=str(self._place(prompt.media))) if prompt.media else prompt

    def clip_path(self, clip: Clip) -> Path:
        """Where the file of a clip is, or goes, in the folder; of a dataset at an address it may not be there."""
        return self.path / clip.path

    def clip_source(self, clip: Clip) -> str | Path:
        """Path or address of the file of a clip."""
        return self._place(clip.path)

    def clip_bytes(self, clip: Clip) -> int | None:
        """Size of the file of a clip in the dataset; None where there is none, or it is at an address elsewhere."""
        place = self._place(clip.path)
        if isinstance(place, Path):
            return place.stat().st_size if place.is_file() else None
        entry = entry_of(place)
        return None if entry is None else entry.size

    def _place(self, name: str) -> str | Path:
        """Where a file is that a table names: an address as it stands, in the folder or, of a dataset at an address,
        there if it is not here."""
        if is_address(name):
            return name
        path = self.path / name
        origin = None if path.exists() else origin_of(self.path)
        return path if origin is None or name not in origin.manifest.files else origin.remote.named(name)

    def load(self, clip: Clip, indices: Sequence[int] | Choose | None = None) -> Video:
        """The frames of a clip, all or those with the given indices; see `videoalign.video.files.read_video`.

        Raises:
            VideoError: see `videoalign.video.files.read_video`.
        """
        return read_video(self.clip_source(clip), indices)

    def judged_pairs(
        self, split: str | None = None, aggregate: Aggregation | str = Aggregation.ADJUDICATED
    ) -> list[JudgedPair]:
        """Every judged pair of the dataset with one label per dimension, in the order and side order of its first
        judgement; judgements on clips that are not in the dataset are left out.

        With ``split``, only the pairs of its prompts. What is a vote says `data.judgements.votes`; ``aggregate`` says
        how the label comes from what was said, see `Aggregation`.

        Raises:
            DataError: a clip of these prompts that was replaced since it was judged.
        """
        splits = {prompt.prompt_id: prompt.split for prompt in self.prompts()}
        require_judged(self, {prompt_id for prompt_id, is_in in splits.items() if split in (None, is_in)})
        return [pair for pair in self._judged_pairs(splits, aggregate) if split in (None, pair.split)]

    def stream_judged_pairs(self, aggregate: Aggregation | str = Aggregation.ADJUDICATED) -> Iterator[JudgedPair]:
        """As `judged_pairs`, one after the other; those before are not held, but under ``dawid_skene``."""
        require_judged(self)
        return self._judged_pairs({prompt.prompt_id: prompt.split for prompt in self.prompts()}, aggregate)

    def _judged_pairs(self, splits: Mapping[str, str], aggregate: Aggregation | str) -> Iterator[JudgedPair]:
        whole = aggregate == Aggregation.DAWID_SKENE
        for part in [self.stream_judgements()] if whole else self._by_pair(strangers=False):
            yield from aggregate_pairs(part, self.dimensions, splits, aggregate)

    def scores(self, name: str) -> ScoreTable:
        """Scores by a reward: ``{clip_id, raw: {dim: number}, normalised: {dim: number}, content}`` a clip, in columns.

        ``content`` stands for the clip and prompt that was scored, see `data.clip_content.input_keys`; without it the
        scores do not tell. `data.clip_content.current_scores` also looks whether that is still so.

        Raises:
            DataError: no scores of that name.
        """
        return ScoreTable(read_table(self._existing("scores", name, "reward score")))

    def scores_digest(self, name: str) -> str:
        """`RewardModel.digest` of the reward that gave the scores of that name; empty where it is not
        recorded."""
        file = self.named_path("scores", name)
        metadata = (read_schema(file).metadata or {}) if file.is_file() else {}
        return str(metadata.get(_DIGEST, b"").decode())

    def write_scores(self, name: str, rows: Sequence[Mapping[str, Any]], *, digest: str = "") -> None:
        """Replaces the scores by one reward; stored flat, in columns ``raw_<dim>`` and ``normalised_<dim>``.

        Args:
            name: of the scores.
            rows: as `scores` gives them.
            digest: `RewardModel.digest` of the reward; it stands in the metadata of the file.

        Raises:
            DataError: a score that is not a finite number.
        """
        try:
            scores = rows if isinstance(rows, ScoreTable) else ScoreTable.of_rows(rows)
            scores.require_finite()
        except DataError as error:
            raise DataError(f"scores '{name}', {error}") from None
        told = scores.table.replace_schema_metadata({_DIGEST: digest} if digest else None)
        write_table(self.named_path("scores", name), told)

    def pairs(self, name: str) -> list[WinLosePair]:
        """The pairs of that name.

        Raises:
            DataError: no pairs of that name.
        """
        return read_records(self._existing("pairs", name, "pairs"), WinLosePair)

    def _existing(self, kind: str, name: str, command: str) -> Path:
        """`named_path` of what there is; ``command`` makes it."""
        file = self.named_path(kind, name)
        if not file.is_file():
            near = did_you_mean(name, self.names(kind) or ["none yet"])
            raise DataError(f"{self.path}: no {kind} '{name}'.{near} Make them with 'videoalign {command}'.")
        return file

    def write_pairs(self, name: str, rows: Sequence[WinLosePair]) -> None:
        """Replaces the pairs of that name.

        Raises:
            DataError: there are none.
        """
        if not rows:
            raise DataError(f"pairs '{name}': the set is empty; nothing was written.")
        write_records(self.named_path("pairs", name), WinLosePair, rows)

    def names(self, kind: str) -> list[str]:
        """Names of the tables of a kind, ``scores`` or ``pairs``."""
        return sorted(file.stem for file in (self.path / kind).glob("*.parquet"))

    def named_path(self, kind: str, name: str) -> Path:
        """Where a table of a kind, ``scores`` or ``pairs``, is; it may be absent.

        Raises:
            DataError: the name is made of other signs than letters, digits, ``_``, ``-`` and ``.``, or of too many.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", name):
            raise DataError(
                f"{kind}: the name '{name}' must be made of letters, digits, '_', '-' and '.', 200 of them at most."
            )
        return self.path / kind / f"{name}.parquet"


def _require_names(names: Sequence[str], where: str = "") -> None:
    """Checks that files, columns and pages can be named after each dimension."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_]{1,100}", name) or names.count(name) > 1:
            raise DataError(
                f"{where}dimensions: '{name[:120]}' must be made of letters a to z or A to Z, digits and underscore, "
                f"100 at most, and stand once; got {', '.join(names)[:400]}. Rename it."
            )
