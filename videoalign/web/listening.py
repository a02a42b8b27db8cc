"""The socket that a server of ours listens on, and the process around it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from videoalign.errors import ConfigError
from videoalign.web import connections

BACKLOG = 2048

KEEP_ALIVE_SECONDS = 20
"""How long a connection may be idle: longer than the usual clients keep one (httpx 5 s, aiohttp 15 s), so that none
sends a request into a connection that is just being closed."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket and its address, as in ``http://127.0.0.1:8000``.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror}); give another."
        ) from None
    listener.setblocking(False)
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


def config(app: ASGIApp, *, read_seconds: float, shutdown_seconds: float) -> uvicorn.Config:
    """How a server of ours runs.

    Args:
        app: what it serves.
        read_seconds: longest time that the head of a request may take to arrive.
        shutdown_seconds: longest time for answering what was taken in once told to stop.
    """
    return uvicorn.Config(
        app,
        http=connections.protocol(read_seconds, connections.most()),
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=shutdown_seconds,  # type: ignore[arg-type]
    )


class Server(uvicorn.Server):
    """Tells when it listens, and ends with exit code 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and says so."""
        connections.report_once()
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop; unlike its base it does not raise the signal again."""
        self.force_exit = self.should_exit
        self.should_exit = True
