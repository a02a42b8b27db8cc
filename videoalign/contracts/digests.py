"""Short strings that stand for the content of files; a file is read again only when it changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from videoalign.contracts.output import whole_file
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


def bytes_digest(content: bytes) -> str:
    """`file_digest` of a file that holds this."""
    return hashlib.sha256(content).hexdigest()[:32]


class FileDigests:
    """Digests of files, remembered under their size, times of change and place on the disk.

    Args:
        memory: JSON file in which they are kept for the next run; None keeps them in this object alone.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory
        self._known: dict[str, tuple[list[list[int]], str]] = {}
        self._changed = False
        if memory is not None and memory.is_file():
            try:
                self._known = {
                    key: (states, digest) for key, (states, digest) in json.loads(memory.read_text()).items()
                }
            except (OSError, ValueError, TypeError, AttributeError):
                self._known = {}  # what cannot be read is made again

    def of(self, path: str | Path) -> str:
        """`file_digest` of a file as it is now.

        Raises:
            OSError: the file is missing or cannot be read.
        """
        return self.of_all([path], lambda: file_digest(path), what="content")

    def of_all(self, paths: Sequence[str | Path], read: Callable[[], str], *, what: str) -> str:
        """What ``read`` makes of these files; it is called again only when one of them has changed.

        Args:
            paths: of the files.
            read: makes their digest.
            what: of them the digest stands for; two kinds of digest of one file are remembered apart.

        Raises:
            OSError: see `of`.
        """
        key, states = "\n".join([what, *map(os.path.abspath, paths)]), [_state(path) for path in paths]
        have = self._known.get(key)
        if have is not None and have[0] == states:
            return have[1]
        digest = read()
        if time.time() - max(max(state[1:3]) for state in states) / 1e9 > SETTLED_SECONDS:
            self._known[key] = (states, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Keeps what was learnt since the last call, and forgets files that are gone; where it cannot be written, the
        next run reads the files again."""
        if self.memory is None or not self._changed:
            return
        gone = [key for key in self._known if not all(map(os.path.exists, key.split("\n")[1:]))]
        for key in gone:
            del self._known[key]
        try:
            with whole_file(self.memory) as aside:
                aside.write_text(json.dumps(self._known), encoding="utf-8")
        except (OutputError, OSError):
            return
        self._changed = False


def _state(path: str | Path) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
