"""The socket that a server of ours listens on."""

from __future__ import annotations

import socket

from videoalign.errors import ConfigError

BACKLOG = 2048


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
