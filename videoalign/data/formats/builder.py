"""Rows of any table become the records of a dataset; nothing goes in twice, no clip goes in unseen."""

from __future__ import annotations

import hashlib
import re
import shutil
from itertools import combinations
from pathlib import Path, PurePosixPath

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, Judgement, Label, Prompt, Rating
from videoalign.data.dataset import CLIP_FOLDER, Dataset, flip, prompt_id_of
from videoalign.data.formats.common import ImportOptions, PairEntry, RatingEntry, SourceClip
from videoalign.errors import DataError, VideoError
from videoalign.video.files import Encoded, VideoInfo, probe

REPEATED = "says the same as row"
"""How the reason of a `DuplicateRow` begins."""


class DuplicateRow(DataError):
    """The row says what an earlier one said; it is left out and listed, whatever the settings."""


class Builder:
    """Collects the rows of one table.

    Args:
        clips: folder or address that paths in the table start from; absolute paths stand for themselves.
        source: name of the table, for ``source_row``.
    """

    def __init__(self, clips: str, source: str, options: ImportOptions) -> None:
        self.clip_root, self.source, self.options = clips, source, options
        self.prompts: dict[str, Prompt] = {}
        self.clips: dict[str, Clip] = {}
        self.judgements: list[Judgement] = []
        self.ratings: list[Rating] = []
        self._probed: dict[str, VideoInfo | VideoError] = {}
        self._contents: dict[str, bytes] = {}
        self._verdicts: dict[tuple[str, ...], int] = {}
        self._scores: dict[tuple[str, str, str], tuple[float, int]] = {}

    def add(self, number: int, entry: PairEntry | RatingEntry) -> None:
        """Takes in one row, wholly or not at all.

        Raises:
            DuplicateRow: an earlier row said the same.
            DataError: it contradicts itself or an earlier row.
            VideoError: a clip is missing or damaged.
        """
        if isinstance(entry, PairEntry):
            self._add_pair(number, entry)
        else:
            self._add_rating(number, entry)

    def _add_pair(self, number: int, entry: PairEntry) -> None:
        prompt = Prompt(prompt_id=prompt_id_of(entry.prompt), text=entry.prompt)
        clip_a, clip_b = (self._clip(clip, prompt) for clip in (entry.clip_a, entry.clip_b))
        if clip_a.clip_id == clip_b.clip_id:
            raise DataError(f"both sides are the same clip, {entry.clip_a.path}; a pair needs two.")
        if not entry.labels:
            raise DataError("no dimension is judged; fill in one at least.")
        verdict = _verdict_key(entry, clip_a.clip_id, clip_b.clip_id)
        first = self._verdicts.setdefault(verdict, number)
        if first != number:
            raise DuplicateRow(f"{REPEATED} {first}.")
        self._keep(prompt, clip_a, clip_b)
        for name, label in entry.labels.items():
            self.judgements.append(
                Judgement(
                    prompt_id=prompt.prompt_id,
                    clip_a=clip_a.clip_id,
                    clip_b=clip_b.clip_id,
                    rater=entry.rater,
                    dimension=name,
                    label=label,
                    source_row=f"{self.source}:{number}",
                )
            )
        for (side, name), score in entry.ratings.items():
            clip = clip_a if side == "a" else clip_b
            self._rate(number, clip, entry.rater, name, score)

    def _add_rating(self, number: int, entry: RatingEntry) -> None:
        prompt = Prompt(prompt_id=prompt_id_of(entry.prompt), text=entry.prompt)
        clip = self._clip(entry.clip, prompt)
        if not entry.scores:
            raise DataError("no dimension is rated; fill in one at least.")
        known = {name: self._scores.get((clip.clip_id, entry.rater, name)) for name in entry.scores}
        earlier = {name: old for name, old in known.items() if old is not None}
        for name, (score, first) in earlier.items():
            if score != entry.scores[name]:
                raise DataError(
                    f"rater '{entry.rater}' gave {entry.clip.path} {score:g} for {name} in row {first}, "
                    f"here {entry.scores[name]:g}; keep one."
                )
        if len(earlier) == len(known):
            raise DuplicateRow(f"{REPEATED} {next(iter(earlier.values()))[1]}.")
        self._keep(prompt, clip)
        for name, score in entry.scores.items():
            self._rate(number, clip, entry.rater, name, score)

    def _rate(self, number: int, clip: Clip, rater: str, dimension: str, score: float) -> None:
        """Keeps a score; the one that stands beside each pair of a clip is kept once, another value beside it too."""
        key = (clip.clip_id, rater, dimension)
        if self._scores.get(key, (None, 0))[0] == score:
            return
        self._scores.setdefault(key, (score, number))
        self.ratings.append(
            Rating(
                clip_id=clip.clip_id,
                rater=rater,
                dimension=dimension,
                score=score,
                source_row=f"{self.source}:{number}",
            )
        )

    def _keep(self, prompt: Prompt, *clips: Clip) -> None:
        self.prompts.setdefault(prompt.prompt_id, prompt)
        for clip in clips:
            self.clips.setdefault(clip.clip_id, clip)

    def _clip(self, clip: SourceClip, prompt: Prompt) -> Clip:
        """The record of a clip; one file under two prompts is two clips."""
        path = str(PurePosixPath(clip.path)) if "://" not in clip.path else clip.path
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(path).stem)[:40]
        known_by = path if clip.content is None else hashlib.sha256(clip.content).hexdigest()
        clip_id = f"{stem}-{fingerprint([known_by, prompt.prompt_id])[:8]}"
        if clip.content is None:
            place = self._place(path)
            info = self._probe(place, place)
        else:
            place = f"{CLIP_FOLDER}/{clip_id}{PurePosixPath(path).suffix or '.mp4'}"
            info = self._probe(place, clip.content)
            self._contents[place] = clip.content
        _require_stated(clip, info)
        known = self.clips.get(clip_id)
        if known is not None and known.generator != clip.generator:
            raise DataError(f"{clip.path}: was by '{known.generator}' before, here by '{clip.generator}'; correct one.")
        return Clip(
            clip_id=clip_id,
            prompt_id=prompt.prompt_id,
            path=place,
            generator=clip.generator,
            fps=info.fps,
            num_frames=info.num_frames,
            height=info.height,
            width=info.width,
        )

    def _place(self, path: str) -> str:
        if "://" in path:
            return path
        if "://" in self.clip_root:
            return f"{self.clip_root.rstrip('/')}/{path}"
        return str((Path(self.clip_root) / path).absolute())

    def _probe(self, place: str, clip: Encoded) -> VideoInfo:
        if place not in self._probed:
            try:
                self._probed[place] = probe(clip)
            except VideoError as error:
                self._probed[place] = error
        found = self._probed[place]
        if isinstance(found, VideoError):
            raise found
        return found

    def derive_judgements(self, tie_band: float) -> None:
        """Judgements from ratings: each rater compares each two clips of a prompt that he or she rated.

        The higher score wins; a difference of ``tie_band`` or less is a tie. Which clip stands as A is decided by
        a hash of the two, so that no generator stands always on one side.
        """
        by_rater: dict[tuple[str, str, str], list[Rating]] = {}
        for rating in self.ratings:
            prompt_id = self.clips[rating.clip_id].prompt_id
            by_rater.setdefault((prompt_id, rating.rater, rating.dimension), []).append(rating)
        for (prompt_id, rater, dimension), ratings in by_rater.items():
            for pair in combinations(ratings, 2):
                a, b = sorted(pair, key=lambda r: fingerprint([r.clip_id, sorted(p.clip_id for p in pair)]))
                label = Label.TIE if abs(a.score - b.score) <= tie_band else Label.A if a.score > b.score else Label.B
                self.judgements.append(
                    Judgement(
                        prompt_id=prompt_id,
                        clip_a=a.clip_id,
                        clip_b=b.clip_id,
                        rater=rater,
                        dimension=dimension,
                        label=label,
                        source_row=f"{a.source_row}+{b.source_row.rpartition(':')[2]}",
                    )
                )

    def write(self, dataset: Dataset) -> None:
        """Everything into the dataset.

        Raises:
            OutputError: the disk is full or the place cannot be written.
        """
        clips = list(self.clips.values())
        if self.options.copy_clips:
            clips = [clip if clip.path in self._contents else self._copied(clip, dataset) for clip in clips]
        for place in {clip.path for clip in clips} & set(self._contents):
            (dataset.path / place).parent.mkdir(exist_ok=True)
            (dataset.path / place).write_bytes(self._contents[place])
        dataset.add(prompts=self.prompts.values(), clips=clips, judgements=self.judgements, ratings=self.ratings)

    @staticmethod
    def _copied(clip: Clip, dataset: Dataset) -> Clip:
        inside = f"{CLIP_FOLDER}/{clip.clip_id}{PurePosixPath(clip.path).suffix}"
        target = dataset.path / inside
        target.parent.mkdir(exist_ok=True)
        if "://" in clip.path:
            import fsspec

            with fsspec.open(clip.path, "rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
        else:
            shutil.copyfile(clip.path, target)
        return Clip(**{**vars(clip), "path": inside})


def _require_stated(clip: SourceClip, info: VideoInfo) -> None:
    """Nothing when the file is what the table says of it; rates may differ by a hundredth, as 23.98 does from 23.976.

    Raises:
        VideoError: it is not.
    """
    same_rate = clip.fps is None or abs(clip.fps - info.fps) <= 0.01 * info.fps
    if not same_rate or clip.num_frames not in (None, info.num_frames):
        stated = (f"{value:g} {unit}" for value, unit in ((clip.num_frames, "frames"), (clip.fps, "fps")) if value)
        raise VideoError(
            f"{clip.path}: is not the file that the table means: {info.num_frames} frames, {info.fps:g} fps; "
            f"the table says {', '.join(stated)}. Fetch it again, or set check_stated=false."
        )


def _verdict_key(entry: PairEntry, clip_a: str, clip_b: str) -> tuple[str, ...]:
    """The same for two rows that say the same, whichever clip stands first."""
    names = sorted(entry.labels)
    if clip_a < clip_b:
        return (entry.rater, clip_a, clip_b, *(f"{name}={entry.labels[name]}" for name in names))
    return (entry.rater, clip_b, clip_a, *(f"{name}={flip(entry.labels[name])}" for name in names))
