"""Connections to a server: how many it holds, and how long it waits for what they have to say."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

log = logging.getLogger(__name__)

RESERVED = 128
"""Open files that are not for connections: the database, the libraries, the log."""
FEWEST = 16
MANY = 2**16
REPORT_SECONDS = 60.0
"""Between two reports that no more files can be opened."""

_Base: Any = AutoHTTPProtocol


def most() -> int:
    """How many connections can be held: each may open a clip besides, and the system limits the files of a process.

    The limit is raised first as far as the system lets a process raise it.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return FEWEST * FEWEST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(FEWEST, (wanted - RESERVED) // 2)


def protocol(read_seconds: float, most: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol with two limits.

    Args:
        read_seconds: longest time from a connection, or from the first byte of a further request on it, to the end of
            the request's head; then the connection is closed.
        most: connections beyond which the one that has been waited for longest is closed.
    """

    class Connection(_Base):
        """One connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.asked_at = self.loop.time()
            self.end: asyncio.TimerHandle | None = None
            self.wait()
            if len(self.connections) > most:
                waited_for = [one for one in self.connections if not one.is_answered]
                min(waited_for, key=lambda one: one.asked_at, default=self).transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.is_answered:
                self.asked_at = self.loop.time()
            self.wait()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.end is not None:
                self.end.cancel()
            super().connection_lost(exc)

        @property
        def has_head(self) -> bool:
            """Whether the head of a request has come that is not yet answered."""
            return self.cycle is not None and not self.cycle.response_complete

        @property
        def is_answered(self) -> bool:
            """Whether a whole request has come that is not yet answered."""
            return self.has_head and not self.cycle.more_body

        def wait(self) -> None:
            """Begins to wait for the head of a request, or ends it."""
            if self.has_head and self.end is not None:
                self.end.cancel()
                self.end = None
            elif not self.has_head and self.end is None:
                self.end = self.loop.call_later(read_seconds, self.give_up)

        def give_up(self) -> None:
            """Closes the connection unless a request has come meanwhile."""
            self.end = None
            if not self.has_head:
                self.transport.close()

    return Connection


def report_once() -> None:
    """Has the running loop report that no more files can be opened in one line a minute, not at every attempt."""
    last = -REPORT_SECONDS

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() - last >= REPORT_SECONDS:
            last = loop.time()
            log.error("no more connections can be taken: %s; raise the limit of open files", error.strerror)

    asyncio.get_running_loop().set_exception_handler(handle)
