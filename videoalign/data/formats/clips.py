"""The clips that a table names: where each is, what its file says, and an id that stands for it alone."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from videoalign.contracts.digests import FileDigests, bytes_digest
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip
from videoalign.data.clip_content import DIGESTS_FILE, content_key, input_key
from videoalign.data.dataset import CLIP_FOLDER
from videoalign.data.formats.common import CLIP_ENDINGS, SourceClip
from videoalign.data.formats.references import Reference, reference_at, reference_in
from videoalign.data.rows import require_text
from videoalign.errors import DataError, VideoError
from videoalign.video.addresses import copy_at_hand, is_address, located, path_of, plain_place
from videoalign.video.files import VideoInfo, probe
from videoalign.video.playable import TO_MP4, unplayable


@lru_cache(maxsize=4096)
class _Known(NamedTuple):
    """A clip that is in."""

    name: str
    prompt_id: str
    generator: str
    seed: int
    content: str
    """See `Judgement.content_a`."""


class Clips:
    """Finds, checks and names clips; a clip that is missing, damaged or two things at once is an error.

    Args:
        folder: of the dataset.
        root: folder or address that paths in the table start from; absolute paths stand for themselves.
        copy: the files are to be copied into the dataset.
    """

    def __init__(self, folder: Path, root: str, *, copy: bool) -> None:
        self.folder, self.root, self._copied = folder, plain_place(root), copy
        self.known: dict[str, _Known] = {}
        self.digests = FileDigests(folder / DIGESTS_FILE)
        self._copies: list[tuple[str, Path]] = []
        self._places: dict[str, tuple[str, str]] = {}  # name and place by path
        self._owners: dict[str, str] = {}  # path in the table by place that it was found at otherwise
        self._probed: dict[str, VideoInfo | VideoError] = {}
        self._unplayable: dict[str, str] = {}
        self._reference_at = lru_cache(maxsize=65_536)(reference_at)
        self._real_folder = lru_cache(maxsize=65_536)(os.path.realpath)

    def id_of(self, clip: SourceClip, prompt_id: str) -> str:
        """Id of a clip that can be used; one file under two prompts is two clips.

        Raises:
            DataError: the id stands for another clip, or another row says something else of this one.
            VideoError: the file is missing, damaged, or not what the table says of it.
        """
        name, place = self._find(clip)
        clip_id = _clip_id(place, name, prompt_id)
        _require_stated(clip, self._look_at(clip))
        require_text(clip.generator)
        known = self.known.get(clip_id)
        if known is None:
            return clip_id
        if (known.name, known.prompt_id) != (name, prompt_id):
            raise DataError(f"{name} and {known.name} get the same clip id, {clip_id}; rename one of the two.")
        if known.generator != clip.generator:
            raise DataError(f"{clip.path}: was by '{known.generator}' before, here by '{clip.generator}'; correct one.")
        if known.seed != clip.seed and -1 not in (known.seed, clip.seed):
            raise DataError(f"{clip.path}: had seed {known.seed} before, here {clip.seed}; correct one.")
        return clip_id

    def record(self, clip_id: str, prompt_id: str, clip: SourceClip, prompt: str) -> Clip:
        """A clip that is new, of a prompt with this text, for the table; `id_of` has seen it."""
        info = self._look_at(clip)
        name, path = self._find(clip)[0], self._stored(clip_id, clip)
        content = self._content(clip)
        key = input_key(content, prompt) if content else ""
        self.known[clip_id] = _Known(name, prompt_id, clip.generator, clip.seed, key)
        if (trouble := unplayable(path, info)) is not None:
            self._unplayable[name] = trouble.what
        return Clip(
            clip_id=clip_id,
            prompt_id=prompt_id,
            path=path,
            generator=clip.generator,
            seed=clip.seed,
            fps=info.fps,
            num_frames=info.num_frames,
            height=info.height,
            width=info.width,
        )

    def _content(self, clip: SourceClip) -> str:
        """`content_key` of a file or of bytes; empty of what lies at an address, of which a copy would have another."""
        if clip.content is not None:
            return bytes_digest(clip.content)
        _, place = self._find(clip)
        return "" if is_address(place) else content_key(place, self.digests)

    def reference(self, asked: SourceClip) -> Reference:
        """What a prompt was asked with.

        Raises:
            VideoError: it is missing, damaged, or neither picture nor clip.
        """
        if asked.content is not None:
            return reference_in(asked.content, asked.path)
        return self._reference_at(located(require_text(asked.path), self.root))

    def stored_reference(self, asked: SourceClip, prompt_id: str) -> str:
        """Where that will be, for the table of prompts; it is copied or written where clips are."""
        place = located(asked.path, self.root)
        return self._kept(prompt_id + self.reference(asked).ending, place, asked.content)

    def note(self) -> str | None:
        """How many clips that are in do not play in every browser, and which; None where all do."""
        if not self._unplayable:
            return None
        (name, what), *_ = self._unplayable.items()
        number = len({known.name for known in self.known.values()})
        return (
            f"{len(self._unplayable)} of {number} clips do not play in every browser; the first: {name}: {what} "
            f"'videoalign data check' lists them; before people judge them, convert them, as with: {TO_MP4}"
        )

    def copy(self) -> None:
        """Copies the files that are to be copied, and remembers what the others hold."""
        for place, target in self._copies:
            with copy_at_hand(place) as path:
                shutil.copyfile(path, target)
        self.digests.save()

    def _stored(self, clip_id: str, clip: SourceClip) -> str:
        """Where the clip will be; bytes are written at once, files are copied when all rows are in."""
        _, place = self._find(clip)
        return self._kept(f"{clip_id}{_ending(place)}", place, clip.content)

    def _kept(self, name: str, place: str, content: bytes | None) -> str:
        if content is None and not self._copied:
            return place
        target = self.folder / CLIP_FOLDER / name
        target.parent.mkdir(exist_ok=True)
        if content is None:
            self._copies.append((place, target))
        else:
            target.write_bytes(content)
        return f"{CLIP_FOLDER}/{name}"

    def _find(self, clip: SourceClip) -> tuple[str, str]:
        """Name and place of a clip; the name of bytes is their hash.

        One file has one name however it is written: from the root where it is inside, else absolute. ``..`` and links
        of folders are followed; a link of the file itself is a name of its own.
        """
        found = self._places.get(clip.path)
        if found is None:
            found = self._places[clip.path] = self._name(self._locate(clip))
        return found if clip.content is None else (_hash_of(clip.content), found[1])

    def _locate(self, clip: SourceClip) -> str:
        """Where the clip is; of several places where it may be, the first with a file, which is then its alone."""
        place = located(require_text(clip.path), self.root)
        if not clip.also or is_address(place) or os.path.exists(place):
            return place
        others = (located(path, self.root) for path in clip.also)
        found = next((other for other in others if os.path.exists(other)), place)
        owner = self._owners.setdefault(found, clip.path)
        if owner != clip.path:
            raise DataError(f"{owner} and {clip.path} could both be {found}; give the files under their full names.")
        return found

    def _name(self, place: str) -> tuple[str, str]:
        if is_address(place):
            inside = f"{self.root.rstrip('/')}/"
            return posixpath.normpath(place.removeprefix(inside)) if place.startswith(inside) else place, place
        folder, base = os.path.split(place)
        whole, root = os.path.join(self._real_folder(folder), base), self._real_folder(self.root)
        return os.path.relpath(whole, root) if whole.startswith(os.path.join(root, "")) else whole, place

    def _look_at(self, clip: SourceClip) -> VideoInfo:
        """What the file says of itself; it is opened once."""
        name, place = self._find(clip)
        if name not in self._probed:
            try:
                self._probed[name] = probe(place if clip.content is None else clip.content)
            except VideoError as error:
                self._probed[name] = error
        found = self._probed[name]
        if isinstance(found, VideoError):
            raise VideoError(str(found))
        return found


@lru_cache(maxsize=4)
def _hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=65_536)
def _clip_id(place: str, name: str, prompt_id: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path_of(place).stem).lstrip("-")[:40]
    return f"{stem or 'clip'}-{fingerprint([name, prompt_id])}"


def _ending(place: str) -> str:
    """Of the name under which a clip is stored; an address may end in anything."""
    ending = path_of(place).suffix
    return ending if ending.lower() in CLIP_ENDINGS or (ending and not is_address(place)) else ".mp4"


def _require_stated(clip: SourceClip, info: VideoInfo) -> None:
    """Checks that the file is what the table says of it; rates may differ by a hundredth, as 23.98 does from 23.976.

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
