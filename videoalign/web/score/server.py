"""A reward server as a process: it listens, and stops without losing a request that it took in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from videoalign.models.videoreward import VideoReward
from videoalign.web.listening import Server, config, listen
from videoalign.web.score.app import build_app
from videoalign.web.score.service import ScoreService
from videoalign.web.score.settings import ServeSettings
from videoalign.web.tokens import require_safe

LINGER_SECONDS = 0.5
"""How long a connection that was just taken may take to send its request once the server listens no more."""


def serve_reward(
    open_reward: Callable[[], VideoReward],
    settings: ServeSettings,
    tokens: tuple[bytes, ...],
    *,
    on_start: Callable[[VideoReward, str], None],
) -> None:
    """Serves a reward until SIGTERM or SIGINT; returns when everything that was taken in is answered.

    Args:
        open_reward: gives the reward, on its device; called once it is known that nobody unasked can reach it.
        settings: see `ServeSettings`.
        tokens: see `build_app`.
        on_start: called with the reward and its address once others can connect.

    Raises:
        ConfigError: strangers could ask, or the address cannot be listened on.
        ModelError: the reward stores no normalisation.
    """
    require_safe(settings.host, tokens)
    reward = open_reward()
    app = build_app(reward, settings, tokens)
    listener, address = listen(settings.host, settings.port)
    running = config(app, read_seconds=settings.read_seconds, shutdown_seconds=settings.shutdown_seconds)
    DrainingServer(running, app.state.service, lambda: on_start(reward, address)).run([listener])


class DrainingServer(Server):
    """Stops in three steps, so that whoever connected is answered.

    First /health says that the server is to stop and every answer asks to close its connection, while requests are
    still taken. Then nobody new is let in, and those who just were send their request. Last, idle connections are
    closed and what was taken in is answered. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: ScoreService, on_start: Callable[[], None]) -> None:
        super().__init__(config, on_start)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop."""
        super().handle_exit(sig, frame)
        self.service.draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops, in the three steps."""
        await self._pause(self.service.settings.drain_seconds)
        for server, listener in zip(self.servers, sockets or [], strict=True):
            await self._take_those_who_knocked(listener)
            server.close()
            listener.close()
        await self._pause(LINGER_SECONDS)
        await super().shutdown()

    async def _take_those_who_knocked(self, listener: socket.socket) -> None:
        """Takes the connections that the system has made but the event loop has not seen."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.05)
