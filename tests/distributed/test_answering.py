"""An address where no cluster is: told in seconds, where a head that is slow is waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from videoalign.distributed.answering import why_silent

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Its address; it answers one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                answer(listening.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def after(seconds: float, said: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        with connection:
            time.sleep(seconds)
            connection.sendall(said)
            connection.recv(100)

    return answer


@pytest.mark.parametrize("kind", ["", "ray://"])
def test_a_head_that_takes_its_time_is_waited_for(kind: str) -> None:
    with server(after(0.5, SETTINGS)) as address:
        assert why_silent(kind + address, 5.0) is None


def test_what_is_no_head_is_told() -> None:
    with server(after(0.0, b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert why_silent(address) == "what is there is no head of Ray"
    with server(after(0.6, b"")) as address:
        started = time.monotonic()
        assert why_silent(address, 0.3) == "nothing was heard for 0 seconds"
        assert time.monotonic() - started < 0.6
    assert why_silent(address) == why_silent("ray://127.0.0.1:1") == "connection refused"
    for wrong in ("head", "http://head:1", "head:port", ""):
        assert why_silent(wrong) is not None


def test_a_cluster_with_keys_of_its_own_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with server(lambda connection: connection.close()) as address:
        assert why_silent(address) is None
