"""What is at an address: one object names all others that count, so that whoever reads sees a whole thing or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from videoalign.contracts.digests import bytes_digest
from videoalign.errors import DataError
from videoalign.stores.lease import OWN_FOLDER
from videoalign.stores.remote import Remote

MANIFEST_NAME = "videoalign-files.json"
SCHEMA_VERSION = 1


class Entry(NamedTuple):
    """A file at an address."""

    size: int
    digest: str = ""
    """`file_digest`; empty where it was put by other means."""
    version: str = ""
    """What the store says of it, where there is no digest."""
    at: str = ""
    """Name of the object that holds it, where that is not the file's own: it replaced another one, which may still be
    read."""

    @property
    def state(self) -> str:
        """Changes when the content does."""
        return self.digest or self.version


@dataclass(frozen=True)
class Manifest:
    """All files at an address."""

    files: Mapping[str, Entry]
    digest: str = ""
    """Of the object itself; empty where there is none, and what is there was listed."""
    stale: tuple[str, ...] = ()
    """Objects that count no more and are to go."""

    def content(self) -> bytes:
        """The object that tells it."""
        files = dict(sorted(self.files.items()))
        return json.dumps({"schema_version": SCHEMA_VERSION, "stale": self.stale, "files": files}).encode()

    @property
    def left_over(self) -> bool:
        """Whether what was replaced or removed is not yet so for tools that know no manifest."""
        return bool(self.stale) or any(entry.at for entry in self.files.values())


def read_manifest(remote: Remote) -> Manifest:
    """What counts at an address: what its manifest names or, where nothing of ours wrote there, all that is there.

    Raises:
        DataError: the manifest is damaged, or of a later version.
        ServerError: the store does not answer.
    """
    content = remote.read(MANIFEST_NAME)
    if content is None:
        there = {name: Entry(size, version=version) for name, (size, version) in remote.find().items()}
        return Manifest({name: entry for name, entry in there.items() if not name.startswith(f"{OWN_FOLDER}/")})
    try:
        told = json.loads(content)
        version, files = int(told["schema_version"]), {name: Entry(*row) for name, row in told["files"].items()}
        stale = tuple(map(str, told["stale"]))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{remote.named(MANIFEST_NAME)}: is damaged ({error}); publish the folder again.") from None
    if version > SCHEMA_VERSION:
        raise DataError(f"{remote.named(MANIFEST_NAME)}: is of a later version, {version}; update videoalign.")
    return Manifest(files, bytes_digest(content), stale)


def manifest_digest(remote: Remote) -> str:
    """`Manifest.digest` of what is at an address now, of which no more is looked at: it may name a million files.

    Raises:
        ServerError: the store does not answer.
    """
    content = remote.read(MANIFEST_NAME)
    return "" if content is None else bytes_digest(content)
