"""Whether a cluster answers at an address: Ray itself asks one that is gone for minutes."""

from __future__ import annotations

import os
import socket
import time
from urllib.parse import urlsplit

ANSWER_SECONDS = 5.0
"""That a head has to say its first word, which it does at once however much it has to do."""

CLIENT_PORT = 10001
"""Of ``ray://HOST``, where none is given."""

_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
"""The kind of the first frame that a server of gRPC, which Ray speaks, sends; it stands in the fourth byte."""


def why_silent(address: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """Why no head of a cluster can be at an address; None where a server of gRPC is there.

    Args:
        address: ``HOST:PORT``, or ``ray://HOST:PORT``.
        seconds: to wait at most, once the host's name is known.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or (CLIENT_PORT if parts.scheme else None)
    except ValueError as error:
        return str(error)
    if not host or port is None or parts.scheme not in ("", "ray"):
        return "that is no HOST:PORT"
    end = time.monotonic() + seconds
    try:
        with socket.create_connection((host, port), seconds) as connection:
            if os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true"):
                return None  # it waits for a key
            connection.settimeout(max(0.1, end - time.monotonic()))
            connection.sendall(_GREETING)
            said = connection.recv(9, socket.MSG_WAITALL)
    except TimeoutError:
        return f"nothing was heard for {seconds:.0f} seconds"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None if said[3:4] == bytes((_SETTINGS,)) else "what is there is no head of Ray"
