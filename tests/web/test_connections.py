"""Connections that say nothing are closed, and shut nobody out."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from videoalign.web import connections
from videoalign.web.listening import is_loopback, listen

HEAD = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and says how long it was."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


class Loop(asyncio.SelectorEventLoop):
    """A loop in which time passes faster when a test says so."""

    passed = 0.0

    def time(self) -> float:
        return super().time() + self.passed


def test_requests_are_read_by_the_fast_parser() -> None:
    """uvicorn falls back to its parser in Python without a word, at twice the time of an answer."""
    assert issubclass(connections.protocol(1.0, 16), HttpToolsProtocol)


def let_pass(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.passed += seconds


class Client:
    """Opens connections to a server, of which it also sees the other end."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port, self.server = port, server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that the server has taken."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await until(lambda: self.other_end(writer) is not None)
        return reader, writer

    async def see_head(self, writer: asyncio.StreamWriter) -> None:
        """Waits until the server has read the head of a request."""
        await until(lambda: self.other_end(writer).has_head)

    def other_end(self, writer: asyncio.StreamWriter) -> Any:
        name = writer.get_extra_info("sockname")
        return next((one for one in self.server.server_state.connections if one.client == name), None)


async def until(holds: Callable[[], Any]) -> None:
    while not holds():
        await asyncio.sleep(0)


def with_server(work: Callable[[Client], Awaitable[None]], **limits: Any) -> None:
    """Runs ``work`` with a client of a server whose connections have these limits."""

    async def run() -> None:
        listener, address = listen("127.0.0.1", 0)
        protocol = connections.protocol(limits.get("read_seconds", 60.0), limits.get("most", 100))
        server = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await work(Client(int(address.rpartition(":")[2]), server))
        finally:
            server.should_exit = server.force_exit = True
            await serving

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run())


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The last byte of the answer; nothing where the connection is closed without one."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    return await reader.readexactly(1)


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nhost:", HEAD, HEAD + b"123"])
def test_when_there_are_too_many_the_one_that_was_waited_for_longest_makes_room(said: bytes) -> None:
    async def work(client: Client) -> None:
        idle, served = [], []
        for _ in range(12):
            reader, writer = await client.connect()
            writer.write(said)
            if HEAD in said:
                await client.see_head(writer)
            idle.append((reader, writer))
        for _ in range(3):
            served.append(await client.connect())
            served[-1][1].write(HEAD + b"12345")
            assert await answer(served[-1][0]) == b"5"
        for reader, _ in idle[:10]:
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert not idle[-1][0].at_eof()

    with_server(work, most=5)


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nhost:", HEAD + b"12345" + HEAD[:30]])
def test_a_request_whose_head_does_not_come_is_not_waited_for(said: bytes) -> None:
    async def work(client: Client) -> None:
        reader, writer = await client.connect()
        writer.write(said)
        if b"12345" in said:
            assert await answer(reader) == b"5"
        let_pass(59)
        await asyncio.sleep(0)
        assert client.other_end(writer) is not None
        let_pass(2)
        assert await reader.read() == b""

    with_server(work)


def test_a_body_may_take_longer_than_a_head_and_a_further_request_has_its_own_time() -> None:
    async def work(client: Client) -> None:
        reader, writer = await client.connect()
        for _ in range(2):
            writer.write(HEAD)
            await client.see_head(writer)
            for _ in range(5):
                let_pass(50)
                writer.write(b"1")
            assert await answer(reader) == b"5"
            let_pass(50)

    with_server(work)


def test_that_no_file_can_be_opened_is_reported_once_and_other_failures_as_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        connections.report_once()
        loop = asyncio.get_running_loop()
        for number in range(100):
            kind = errno.EMFILE if number % 2 else errno.ENFILE
            loop.call_exception_handler({"message": "x", "exception": OSError(kind, "Too many open files")})
        loop.call_exception_handler({"message": "another failure", "exception": OSError(errno.EIO, "y")})

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert [record.name for record in caplog.records] == ["videoalign.web.connections", "asyncio"]
    assert "Too many open files; raise the limit" in caplog.records[0].getMessage()


def test_what_can_be_reached_from_here_alone() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.1", "example.org", ""))
    assert connections.most() >= connections.FEWEST
