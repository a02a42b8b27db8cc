"""Short strings that stand for the content of files; a file is read again only when it changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from videoalign.contracts.output import write_json
from videoalign.errors import OutputError

SETTLED_SECONDS = 2.0
"""A file that changed more recently is not remembered: another change in the same tick of its clock would go unseen."""


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, 32 hexadecimal digits of it.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


class FileDigests:
    """`file_digest` of many files, remembered under their size, times of change and place on the disk.

    Args:
        memory: JSON file in which digests are kept for the next run; None keeps them in this object alone.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory
        self._known: dict[str, tuple[list[int], str]] = {}
        self._changed = False
        if memory is not None and memory.is_file():
            try:
                self._known = {key: (state, digest) for key, (state, digest) in json.loads(memory.read_text()).items()}
            except (OSError, ValueError, TypeError, AttributeError):
                self._known = {}  # what cannot be read is made again

    def of(self, path: str | Path) -> str:
        """The digest of a file's content as it is now.

        Raises:
            OSError: see `file_digest`.
        """
        key, state = os.path.abspath(path), _state(path)
        have = self._known.get(key)
        if have is not None and have[0] == state:
            return have[1]
        digest = file_digest(path)
        if time.time() - max(state[1:3]) / 1e9 > SETTLED_SECONDS:
            self._known[key] = (state, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Keeps what was learnt since the last call; where it cannot be written, the next run reads the files again."""
        if self.memory is None or not self._changed:
            return
        try:
            write_json(self.memory, self._known)
        except OutputError:
            return
        self._changed = False


def _state(path: str | Path) -> list[int]:
    found: os.stat_result = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
