"""A rating programme as a process: it listens, keeps the dataset's tables up to date, and stops without losing work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from videoalign.errors import ConfigError, OutputError
from videoalign.web.annotate.http.app import create_app, require_free_path
from videoalign.web.annotate.programme import people
from videoalign.web.annotate.programme.maintenance import Upkeep
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import require_pairs, stored_pairs, sync_pairs
from videoalign.web.annotate.programme.programme import OpenProgramme, open_programme
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage import database, places
from videoalign.web.annotate.storage.database import Database, DatabaseGone
from videoalign.web.listening import Server, config, is_loopback, listen

SWITCH_SECONDS = 0.0005


@dataclass(frozen=True)
class Started:
    """What to tell whoever started the server."""

    address: str
    admin_link: str
    num_pairs: int
    database: str
    """Where the database is, without a password."""
    notes: list[str]
    """Clips that are left out or that not every browser plays, and why."""


def serve_programme(folder: Path, settings: AnnotateSettings, *, on_start: Callable[[Started], None]) -> None:
    """Serves the programme of a dataset until SIGTERM or SIGINT.

    Args:
        folder: of the dataset.
        settings: see `AnnotateSettings`.
        on_start: called once others can connect.

    Raises:
        ConfigError: the address cannot be listened on, it is not known how people reach it, or the database's is none
            or belongs to another dataset.
        DataError: the dataset, or a table of pairs or gold, cannot be used.
        OutputError: the database cannot be used.
    """
    require_address(settings)
    require_free_path(settings)
    # The writing thread waits for the database often and briefly; each time it must soon have its turn again.
    sys.setswitchinterval(SWITCH_SECONDS)
    listener, address = listen(settings.host, settings.port)
    with listener:
        library, url = Library(folder), database.address(folder, settings.db)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            require_pairs(library, settings)  # no database is made for what cannot be judged
        store = Database(url)
        try:
            programme, num_pairs, token = _open(store, library, settings)
            base = settings.public_url or address
            notes = [*library.sorted.notes(), *library.references.notes()]
            started = Started(address, f"{base}/join/{token}", num_pairs, places.where(store.url), notes)
            upkeep = Upkeep(programme)
            upkeep.start()
            running = config(
                create_app(programme, _hosts(settings)),
                read_seconds=settings.read_seconds,
                shutdown_seconds=settings.shutdown_seconds,
            )
            Server(running, lambda: on_start(started)).run([listener])
            upkeep.stop()
        finally:
            store.close()


def _open(store: Database, library: Library, settings: AnnotateSettings) -> tuple[OpenProgramme, int, str]:
    """The programme, the number of pairs and the token of the first admin's link."""
    try:
        with store.read() as session:
            require_pairs(library, settings, stored_pairs(session))
        programme = open_programme(store, library, settings)
        return programme, sync_pairs(programme), store.write(lambda session: people.owner_link(programme, session))
    except DatabaseGone as gone:
        raise OutputError(f"--db: {gone.reason}") from gone


def _hosts(settings: AnnotateSettings) -> list[str]:
    """Names that requests may be addressed to: so that no page of another site asks as if it were of this one."""
    public = urlsplit(settings.public_url or "").hostname or ""
    own = [public, settings.host, "localhost", "127.0.0.1", "::1"]
    return [*settings.hosts, *(f"[{name}]" if ":" in name else name for name in own if name)]


def require_address(settings: AnnotateSettings) -> None:
    """Checks that links lead somewhere.

    Raises:
        ConfigError: other machines can reach the server, and it is not said how.
    """
    if settings.public_url is None and not is_loopback(settings.host):
        raise ConfigError(
            f"--host: {settings.host} can be reached by others, so it must be known how, for links begin with that; "
            "set public_url=https://rate.example.org, or listen on 127.0.0.1."
        )
