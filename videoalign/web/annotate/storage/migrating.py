"""Brings a database to the version that this code knows, or says why it cannot be used."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
from sqlalchemy import Connection

from videoalign.errors import OutputError


def bring_up_to_date(connection: Connection) -> None:
    """Runs the migrations that are missing.

    Raises:
        OutputError: the database is of a later version, or of another program.
    """
    if _stands_at_head(connection):
        return
    config = _config()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def require_up_to_date(connection: Connection) -> None:
    """Checks that nothing needs to be done; an empty database passes.

    Raises:
        OutputError: the database is of an earlier or later version, or of another program.
    """
    if not _stands_at_head(connection) and _revision(connection) is not None:
        raise OutputError(
            "--db: the database is of an earlier version; 'videoalign annotate serve' brings it up to date, once no "
            "server of that version runs."
        )


def _config() -> Any:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _scripts() -> Any:
    return alembic.script.ScriptDirectory.from_config(_config())


def _stands_at_head(connection: Connection) -> bool:
    scripts = _scripts()
    revision = _revision(connection)
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise OutputError(
            f"--db: the database is of a later version of videoalign, or of another program (revision {revision}); "
            "update videoalign, or give another database."
        )
    return revision == scripts.get_current_head()


def _revision(connection: Connection) -> str | None:
    return alembic.runtime.migration.MigrationContext.configure(connection).get_current_revision()
