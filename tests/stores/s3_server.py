"""A real S3 server on this machine, and a network between it and us that fails at random from a seed."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import fsspec.config
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTKEY", "AWS_SECRET_ACCESS_KEY": "verysecret", "AWS_DEFAULT_REGION": "us-east-1"}

BUCKET = "bucket"
READ_TIMEOUT = 0.5
"""Seconds that our client waits for an answer."""

Answer = Iterable[bytes]


class Network:
    """WSGI around the server: loses, delays, cuts and changes what goes through.

    Attributes:
        rate: share of requests that a fault meets.
        faults: those that may; see `FAULTS`.
        seen: how often each method was asked for, by ``(method, path)``.
        met: how often each fault struck.
    """

    def __init__(self, server: Callable[..., Answer], seed: int = 0) -> None:
        self.server, self.rng, self.lock = server, random.Random(seed), threading.Lock()
        self.rate, self.faults = 0.0, list(FAULTS)
        self.seen, self.met = Counter[tuple[str, str]](), Counter[str]()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self.lock:
            self.seen[method, path] += 1
            fault = None
            if self.rng.random() < self.rate:
                fault = min(self.rng.sample(self.faults, len(self.faults)), key=self.met.__getitem__)
                self.met[fault] += 1
        return FAULTS[fault](self, environ, start) if fault else self.server(environ, start)

    def refuse(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start("500 Internal Server Error", [("Content-Type", "application/xml")])
        return [b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"]

    def lose_answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        b"".join(self.server(environ, lambda *_: None))
        return self.refuse({**environ, "CONTENT_LENGTH": "0"}, start)

    def hang_up(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError

    def fall_silent(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        time.sleep(1.5 * READ_TIMEOUT)
        return self.hang_up(environ, start)

    def cut(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        """Sends half of what it announces."""
        told: list[Any] = []
        content = b"".join(self.server(environ, lambda *given: told.extend(given)))
        start(*told[:2])
        return [content[: len(content) // 2]]

    def change(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        """Sends as much as it announces, and something else, where it is a file."""
        told: list[Any] = []
        content = b"".join(self.server(environ, lambda *given: told.extend(given)))
        start(*told[:2])
        is_file = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith((".mp4", ".parquet"))
        return [bytes(len(content)) if is_file and told[0].startswith("200") else content]


FAULTS: dict[str, Callable[..., Answer]] = {
    "500": Network.refuse,
    "lost answer": Network.lose_answer,
    "hang up": Network.hang_up,
    "silence": Network.fall_silent,
    "short": Network.cut,
    "changed": Network.change,
}


class _Quiet(WSGIRequestHandler):
    def log(self, *args: Any, **options: Any) -> None:
        """Says nothing."""


@contextmanager
def s3_server(seed: int = 0) -> Iterator[tuple[str, Network]]:
    """Its address, and the network before it; there is a bucket, `BUCKET`."""
    network = Network(DomainDispatcherApplication(create_backend_app), seed)
    server = make_server("127.0.0.1", 0, network, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    named = {"aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", config=Config(), **named).create_bucket(
        Bucket=BUCKET
    )
    try:
        yield address, network
    finally:
        server.shutdown()
        thread.join()


def use_server(address: str) -> None:
    """Lets s3:// lead to the server, with a client that gives up soon; the keys stand in the environment."""
    retries = {"max_attempts": 1}
    fsspec.config.conf["s3"] = {
        "endpoint_url": address,
        "config_kwargs": {"read_timeout": READ_TIMEOUT, "connect_timeout": READ_TIMEOUT, "retries": retries},
    }
