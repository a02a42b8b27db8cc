"""A rating programme as a process: it listens, keeps the dataset's tables up to date, and stops without losing work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from videoalign.errors import OutputError
from videoalign.web.annotate import database, people, places
from videoalign.web.annotate.app import create_app
from videoalign.web.annotate.database import Database, DatabaseGone
from videoalign.web.annotate.desk import Desk, open_desk
from videoalign.web.annotate.library import Library
from videoalign.web.annotate.pairs import require_pairs, sync_pairs
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.upkeep import Upkeep
from videoalign.web.listening import BACKLOG, listen

SWITCH_SECONDS = 0.0005


@dataclass(frozen=True)
class Started:
    """What to tell whoever started the server."""

    address: str
    admin_link: str
    num_pairs: int
    database: str
    """Where the database is, without a password."""


def serve(folder: Path, settings: AnnotateSettings, *, on_start: Callable[[Started], None]) -> None:
    """Serves the programme of a dataset until SIGTERM or SIGINT.

    Args:
        folder: of the dataset.
        settings: see `AnnotateSettings`.
        on_start: called once others can connect.

    Raises:
        ConfigError: the address cannot be listened on, or the database's is none or belongs to another dataset.
        DataError: the dataset, or a table of pairs or gold, cannot be used.
        OutputError: the database cannot be used.
    """
    # The writing thread waits for the database often and briefly; each time it must soon have its turn again.
    sys.setswitchinterval(SWITCH_SECONDS)
    listener, address = listen(settings.host, settings.port)
    with listener:
        library = Library(folder)
        require_pairs(library, settings)
        store = Database(database.address(folder, settings.db))
        try:
            desk, num_pairs, token = _open(store, library, settings)
            base = settings.public_url or address
            started = Started(address, f"{base}/join/{token}", num_pairs, places.where(store.url))
            upkeep = Upkeep(desk)
            upkeep.start()
            _Server(_config(desk), lambda: on_start(started)).run([listener])
            upkeep.stop()
        finally:
            store.close()


def _open(store: Database, library: Library, settings: AnnotateSettings) -> tuple[Desk, int, str]:
    """The desk, the number of pairs and the token of the first admin's link."""
    try:
        desk = open_desk(store, library, settings)
        return desk, sync_pairs(desk), store.write(lambda session: people.owner_link(desk, session))
    except DatabaseGone as gone:
        raise OutputError(f"--db: {gone.reason}") from gone


class _Server(uvicorn.Server):
    """Tells when it listens, and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_start = on_start

    async def startup(self, sockets: list | None = None) -> None:
        """Listens, and says so."""
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: object) -> None:
        """Begins to stop; unlike its base it does not raise the signal again."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _config(desk: Desk) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(desk),
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=desk.settings.shutdown_seconds,  # type: ignore[arg-type]
    )
