"""Which dataset a database belongs to: both hold the dataset's id."""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from videoalign.contracts.output import write_json
from videoalign.contracts.records import INFO_FILE
from videoalign.data.additions import alone
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.storage.tables import Pair, Programme

ID_BYTES = 16


def own_id(folder: Path) -> str:
    """The id of a dataset, which is made and written down when it has none.

    Raises:
        OutputError: the folder cannot be written.
    """
    info = Dataset.open(folder).info
    if info.dataset_id:
        return info.dataset_id
    with alone(folder):
        info = Dataset.open(folder).info
        if not info.dataset_id:
            info = info.model_copy(update={"dataset_id": secrets.token_hex(ID_BYTES)})
            write_json(folder / INFO_FILE, info.model_dump(mode="json"))
    return info.dataset_id


def require_same(session: Session, programme: Programme, library: Library) -> None:
    """Checks that a programme is about this dataset. One that was begun before datasets had ids is, when it knows a
    pair of it.

    Raises:
        ConfigError: it is about another one.
        OutputError: the dataset's folder cannot be written.
    """
    folder = library.dataset.path
    known = programme.dataset_id
    if not known:
        pairs = session.execute(select(Pair.clip_a, Pair.clip_b)).all()
        if not pairs or any(row.clip_a in library.rows and row.clip_b in library.rows for row in pairs):
            programme.dataset_id = own_id(folder)
            return
        raise ConfigError(
            f"--db: no pair of this database is in {folder}, so it belongs to another dataset; give another database."
        )
    require_id(known, folder)


def require_id(known: str, folder: Path) -> None:
    """Checks that a dataset is the one whose id a database holds.

    Raises:
        ConfigError: it is another one.
    """
    have = Dataset.open(folder).info.dataset_id
    if have != known:
        raise ConfigError(
            f"--db: this database belongs to another dataset (id {known}; {folder} has {have or 'none'}); give another "
            f'database. If it is the same dataset made anew, write "dataset_id": "{known}" into its {INFO_FILE}.'
        )
