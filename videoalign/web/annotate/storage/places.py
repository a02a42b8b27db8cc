"""Where a programme keeps what people said, and the note in the dataset folder that says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

from videoalign.contracts.output import plain_errors, write_json
from videoalign.contracts.people import DATABASE_FILE, PROGRAMME_FILE, beside
from videoalign.errors import ConfigError, DataError

PROGRAMMES = "programmes"


def own_database(folder: Path) -> URL:
    """The database of a dataset where none is named: in the folder beside the dataset's; in the dataset's folder where
    one has been served from there.

    Raises:
        ConfigError: there are two, or the dataset is judged in a database that is in neither place.
        DataError: the dataset's note cannot be read.
    """
    found = _found(folder)
    if found is None:
        _require_unserved(folder)
    return _sqlite(found or beside(folder) / DATABASE_FILE)


def home(folder: Path, key: str) -> URL:
    """Where the database of a programme belongs, which need not be there: where `own_database` finds one, else where
    the dataset's note says that this programme is judged, else in the folder beside the dataset's.

    Raises:
        ConfigError: there are two.
        DataError: the dataset's note cannot be read.
    """
    found = _found(folder)
    noted = _programmes(folder).get(key)
    if found is None and noted is not None and "://" in noted["database"]:
        return make_url(noted["database"])
    if found is None and noted is not None:
        found = (folder.resolve() / noted["database"]).resolve()
    return _sqlite(found or beside(folder) / DATABASE_FILE)


def _found(folder: Path) -> Path | None:
    outside, inside = beside(folder) / DATABASE_FILE, folder.resolve() / DATABASE_FILE
    there = [file for file in (outside, inside) if file.is_file()]
    if len(there) > 1:
        raise ConfigError(
            f"--db: {folder} has two databases, {outside} and {inside}; name one: --db sqlite:///{outside}"
        )
    return there[0] if there else None


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite", database=os.fspath(file))


def private_folder(folder: Path) -> Path:
    """The folder beside a dataset's, made where it is missing, for its owner alone.

    Raises:
        OutputError: it cannot be made.
    """
    made = beside(folder)
    with plain_errors(made):
        made.mkdir(mode=0o700, exist_ok=True)
    return made


def where(url: URL, folder: Path | None = None) -> str:
    """A database in words, without a password; a file of SQLite from ``folder`` on, where that is given."""
    if url.get_backend_name() != "sqlite":
        return url.render_as_string(hide_password=True)
    file = Path(url.database or "").resolve()
    return os.fspath(file) if folder is None else os.path.relpath(file, folder.resolve())


def note(folder: Path, key: str, url: URL) -> None:
    """Notes in the dataset folder that this programme judges it, so that the folder is not thrown away.

    Raises:
        OutputError: the folder cannot be written.
    """
    programmes = _programmes(folder)
    entry = {"database": where(url, folder)}
    if programmes.get(key) != entry:
        write_json(folder / PROGRAMME_FILE, {PROGRAMMES: programmes | {key: entry}})


def _require_unserved(folder: Path) -> None:
    for entry in _programmes(folder).values():
        place = entry["database"]
        if "://" not in place:
            place = f"sqlite:///{(folder.resolve() / place).resolve()}"
        raise ConfigError(
            f"--db: {folder} is judged in {place}; name that database, or put it back there. To begin anew beside it, "
            "name another one."
        )


def _programmes(folder: Path) -> dict[str, Any]:
    file = folder / PROGRAMME_FILE
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))[PROGRAMMES] if file.is_file() else {}
        return {key: {"database": str(entry["database"])} for key, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{file}: cannot be read ({error!r}); put it back, or move it away.") from None
