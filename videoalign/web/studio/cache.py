"""Clips that were made, kept in a folder of limited size: one mp4 each, which carries all that is known of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pydantic import ValidationError

from videoalign.contracts.output import whole_file
from videoalign.errors import VideoError
from videoalign.video.files import read_note
from videoalign.video.limits import UNLIMITED, ClipLimits
from videoalign.web.studio.making import Made


def made_in(clip: Path | bytes, limits: ClipLimits = UNLIMITED) -> Made | None:
    """What a clip's file says of it; None where no studio made it.

    Raises:
        VideoError: missing, truncated or not a video.
        LimitError: the clip is over the limits.
    """
    try:
        return Made.model_validate_json(read_note(clip, limits=limits))
    except ValidationError:
        return None


class Cache:
    """Clips by key; what was not asked for longest is removed first. Several threads may use it."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._known: dict[str, Made] = {}
        self._lock = threading.Lock()

    def path(self, key: str) -> Path:
        """Where the clip of this key lies, if it is there."""
        return self.folder / f"{key}.mp4"

    def get(self, key: str) -> Made | None:
        """The clip of this key; None where it is not there or its file is damaged."""
        path = self.path(key)
        try:
            os.utime(path)
        except OSError:
            return None
        with self._lock:
            if key not in self._known:
                try:
                    made = made_in(path)
                except VideoError:
                    made = None
                if made is None:
                    return None
                self._known[key] = made
            return self._known[key]

    def put(self, key: str, made: Made, content: bytes) -> None:
        """Keeps a clip, and makes room for it.

        Raises:
            OutputError: the disk is full or the folder cannot be written.
        """
        with whole_file(self.path(key)) as aside:
            aside.write_bytes(content)
        with self._lock:
            self._known[key] = made
            self._make_room(self.path(key))

    def _make_room(self, newest: Path) -> None:
        """Removes the clips that were asked for longest ago, but the one that was just made."""
        files = {path: path.stat() for path in self.folder.glob("[!.]*.mp4")}
        size = sum(stat.st_size for stat in files.values())
        for path in sorted(files, key=lambda path: files[path].st_mtime):
            if size <= self.max_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                self._known.pop(path.stem, None)
                size -= files[path].st_size
