"""Objects at an address, through fsspec: what the network does to a request is tried again, then told in a line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from videoalign.contracts.digests import file_digest
from videoalign.contracts.output import fingerprint
from videoalign.errors import DataError, ServerError, VideoAlignError

Given = TypeVar("Given")

EXTRAS = {"http": "http", "https": "http", "s3": "stores", "s3a": "stores", "gs": "stores", "gcs": "stores"}
"""The extra of this package that reads addresses of a kind."""

ATTEMPTS = 5
"""Of one request, besides what the store's own client tries again."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
"""Seconds between two attempts: at most the first number, doubled from one to the next, each drawn anew."""

_WEB = ("http://", "https://")
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, ValueError, NotImplementedError)
"""What another attempt does not change."""
_OF_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_VERSION_KEYS = ("ETag", "etag", "oid", "md5Hash", "crc32c", "LastModified", "mtime", "created")


class _Damaged(Exception):
    """What arrived is not what is there."""


def open_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and what it calls the place.

    Raises:
        DataError: nothing here reads such addresses; names the extra that does, where one does.
    """
    import fsspec

    kind = address.partition("://")[0]
    try:
        if address.startswith(_WEB):
            return fsspec.filesystem(kind, encoded=True), _as_sent(address)
        system, path = fsspec.url_to_fs(address)
        return system, path
    except ImportError as error:
        extra = EXTRAS.get(kind)
        way_out = f"pip install 'videoalign[{extra}]'" if extra else str(error).rstrip(".")
        raise DataError(f"{address}: what reads {kind}:// is not installed; {way_out}.") from None
    except ValueError as error:
        raise DataError(
            f"{address}: cannot be fetched from here ({_reason(error)}); wanted s3://, gs:// or hf://."
        ) from None


def patiently(
    address: str, what: str, ask: Callable[[], Given], *, fault: type[VideoAlignError] = ServerError
) -> Given:
    """What ``ask`` gives; when the network fails, it is asked again, later and later.

    Args:
        address: of what is asked for, to be named.
        what: is not possible where it fails, as ``fetched``.
        ask: one request.
        fault: class of the error where it kept failing.

    Raises:
        FileNotFoundError: there is no such object.
        FileExistsError: there is one already.
        PermissionError: the store does not let us.
        OSError: the disk of this machine is full.
        VideoAlignError: of class ``fault``, what went wrong the last time.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    waits = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
    stop, again = stop_after_attempt(ATTEMPTS), retry_if_exception(_may_pass)
    try:
        return Retrying(stop=stop, wait=waits, retry=again, reraise=True)(ask)
    except (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, VideoAlignError):
        raise
    except Exception as error:  # every kind of store has its own
        if getattr(error, "errno", None) in _OF_OUR_DISK:
            raise
        raise fault(f"{address}: cannot be {what} from here ({_reason(error)}); {_way_out(error)}.") from None


def _may_pass(error: BaseException) -> bool:
    """Whether it may go well the next time."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
        return False
    if getattr(error, "errno", None) in _OF_OUR_DISK:
        return False
    lasting = isinstance(error, (*_FINAL, VideoAlignError)) or "Credentials" in type(error).__name__
    return isinstance(error, Exception) and not lasting


def _way_out(error: Exception) -> str:
    if "Credentials" in type(error).__name__:
        return "give the store's own credentials, in its environment variables or its file"
    return "it was tried again and again; run the same command again" if _may_pass(error) else "fetch it by other means"


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status is not None:
        return f"the server says {status} {getattr(error, 'message', '')}".rstrip()
    return " ".join(f"{type(error).__name__.lstrip('_')}: {error}".split()).rstrip(": ")[:200]


def _as_sent(address: str) -> str:
    """A web address with what must not be sent as it is in per cent, and nothing else changed: it may be signed."""
    parts = urlsplit(address)
    kept = "/:@!$&'()*+,;=~%[]"
    path, query = (
        re.sub("%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=safe))
        for text, safe in ((parts.path, kept), (parts.query, f"{kept}?"))
    )
    return parts._replace(path=path, query=query, fragment="").geturl()


def fetch(
    address: str, target: str, *, size: int | None = None, digest: str = "", fault: type[VideoAlignError]
) -> None:
    """Copies the file at an address to a path on this machine.

    Args:
        address: of the file.
        target: path to write to.
        size: bytes that it must have; None where that is not known.
        digest: `file_digest` that it must have; empty where that is not known.
        fault: see `patiently`.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        VideoAlignError: see `patiently`; so where what arrives is not what is there, again and again.
    """
    system, path = open_system(address)

    def ask() -> None:
        system.get_file(path, target)
        have = os.path.getsize(target)
        if size is not None and have != size:
            raise _Damaged(f"{have} of {size} bytes arrived")
        if digest and file_digest(target) != digest:
            raise _Damaged("its content is not the one that was written")

    patiently(address, "fetched", ask, fault=fault)


class Remote:
    """The objects below an address, by their names from there.

    Args:
        address: of the folder.

    Raises:
        DataError: nothing here reads such addresses, or it holds a password.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if "@" in urlsplit(self.address).netloc:
            kind = self.address.partition("://")[0]
            raise DataError(
                f"{kind}://...: the address holds a user or password; leave it out, and give it in the store's own "
                "environment variables or file."
            )
        self.system, self.root = open_system(self.address)

    def named(self, name: str) -> str:
        """The address of an object."""
        return f"{self.address}/{name}"

    def find(self, below: str = "") -> dict[str, tuple[int, str]]:
        """Size and version of every object ``below`` a name, by its name from there."""
        root = self._path(below).rstrip("/")

        def ask() -> dict[str, Any]:
            self.system.invalidate_cache()
            try:
                return dict(self.system.find(root, detail=True))
            except FileNotFoundError:
                return {}

        start = len(root.strip("/")) + 1
        found = self._do("", "listed", ask)
        return {
            path.strip("/")[start:]: (int(info.get("size") or 0), _version(info))
            for path, info in found.items()
            if info.get("type", "file") == "file" and path.strip("/")[start:]
        }

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""

        def ask() -> bytes | None:
            self.system.invalidate_cache()
            try:
                return bytes(self.system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

        return self._do(name, "fetched", ask)

    def write(self, name: str, content: bytes) -> None:
        """Puts an object, whole, in place of one that is there."""
        self._do(name, "written", lambda: self._pipe(name, content))

    def create(self, name: str, content: bytes) -> bool:
        """Puts an object where there is none, and says whether this did: of several that try at once, one does, if the
        store takes such a condition."""

        def ask() -> None:
            try:
                self._pipe(name, content, mode="create")
            except NotImplementedError:  # the store knows no condition
                if self.read(name) is not None:
                    raise FileExistsError(name) from None
                self._pipe(name, content)

        try:
            self._do(name, "written", ask)
        except FileExistsError:
            return self.read(name) == content  # an answer that was lost on its way is asked for again
        return True

    def put(self, file: str | os.PathLike[str], name: str) -> None:
        """Uploads a file; it is there whole or not at all."""
        size = os.path.getsize(file)

        def ask() -> None:
            self._folder_of(name)
            self.system.put_file(os.fspath(file), self._path(name))
            self.system.invalidate_cache()
            there = int(self.system.info(self._path(name))["size"])
            if there != size:
                raise _Damaged(f"{there} of {size} bytes arrived")

        self._do(name, "written", ask)

    def get(self, name: str, target: str, *, size: int | None = None, digest: str = "") -> None:
        """See `fetch`; an object that is not there is a `FileNotFoundError`."""
        fetch(self.named(name), target, size=size, digest=digest, fault=ServerError)

    def copy(self, source: str, name: str) -> None:
        """Copies an object within the store."""

        def ask() -> None:
            self._folder_of(name)
            self.system.cp_file(self._path(source), self._path(name))

        self._do(name, "written", ask)

    def remove(self, name: str) -> None:
        """Takes an object away, if it is there."""

        def ask() -> None:
            try:
                self.system.rm_file(self._path(name))
            except FileNotFoundError:
                self.system.invalidate_cache()

        self._do(name, "removed", ask)

    def age(self, name: str, now: float) -> float | None:
        """Seconds since an object was put, by the store's clock; None where the store does not tell."""

        def ask() -> float | None:
            self.system.invalidate_cache()
            try:
                return float(now - self.system.modified(self._path(name)).timestamp())
            except (NotImplementedError, KeyError, AttributeError):
                return None

        return self._do(name, "looked at", ask)

    def _do(self, name: str, what: str, ask: Callable[[], Given]) -> Given:
        """See `patiently`; what the store refuses is told too."""
        place = self.named(name) if name else self.address
        try:
            return patiently(place, what, ask)
        except FileNotFoundError:
            raise DataError(f"{place}: cannot be {what}, for there is no such bucket; make it first.") from None
        except PermissionError as error:
            told = _reason(error).partition(": ")[2]
            raise DataError(f"{place}: may not be {what} ({told}); give credentials that allow it.") from None

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _pipe(self, name: str, content: bytes, **options: Any) -> None:
        self._folder_of(name)
        self.system.pipe_file(self._path(name), content, **options)

    def _folder_of(self, name: str) -> None:
        """Makes the folder of an object in a store that has folders; the others do nothing, or make a bucket."""
        if "/" in name and getattr(self.system, "protocol", "") in ("memory", "file", ("file", "local"), "sftp"):
            self.system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)


def _version(info: dict[str, Any]) -> str:
    return fingerprint([info.get("size"), *(str(info[key]) for key in _VERSION_KEYS if key in info)])
