"""A studio as a process: it opens what it works with, listens, and stops when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from videoalign.stores.cache import cache_folder
from videoalign.web.listening import Server, config, listen
from videoalign.web.studio.app import WAY_IN, Studio, build_studio
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.opening import Opened, Sources, open_sources
from videoalign.web.studio.settings import MIB, StudioSettings
from videoalign.web.tokens import require_safe


def serve_studio(
    sources: Sources,
    settings: StudioSettings,
    place: Mapping[str, str],
    tokens: tuple[bytes, ...] = (),
    *,
    on_start: Callable[[Opened, str], None],
) -> None:
    """Serves a studio until SIGTERM or SIGINT.

    Args:
        sources: what it is opened from.
        settings: see `StudioSettings`.
        place: device, precision and what is kept off the graphics card, as `open_generator` takes them.
        tokens: let somebody in; without one everybody who can reach the server is.
        on_start: called with what was opened and the address once others can connect.

    Raises:
        ConfigError: strangers could ask, the address cannot be listened on, or a setting cannot be met.
        ModelError: something is not there, or does not fit together.
    """
    require_safe(settings.host, tokens)
    opened = open_sources(sources, settings, place)
    folder = settings.cache or cache_folder() / "studio"
    studio = Studio(opened, Cache(Path(folder), settings.cache_mib * MIB), tokens)
    own = [settings.host, "localhost", "127.0.0.1", "::1"]
    hosts = [*settings.hosts, *(f"[{name}]" if ":" in name else name for name in own)]
    listener, address = listen(settings.host, settings.port)
    link = f"{address}{WAY_IN}{tokens[0].decode()}" if tokens else f"{address}/"
    running = config(
        build_studio(studio, hosts), read_seconds=settings.read_seconds, shutdown_seconds=settings.shutdown_seconds
    )
    Server(running, lambda: on_start(opened, link)).run([listener])
