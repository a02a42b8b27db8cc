"""A PostgreSQL server of Debian's package for as long as a block runs, reachable over a socket file alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
START_SECONDS = 30


def find_postgres() -> Path | None:
    """The folder of its programs; None where it is not installed."""
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")]))
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A running server; ``stop`` and ``start`` it again to see what happens meanwhile."""

    def __init__(self, programs: Path, folder: Path, *, durable: bool = True) -> None:
        self.programs, self.folder, self.durable = programs, folder, durable
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "videoalign", "-E", "UTF8", "--no-locale")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Address of one of its databases."""
        return f"postgresql://videoalign@/{database}?host={self.folder}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._process = subprocess.Popen(
            [self.programs / "postgres", "-D", f"{self.folder}/data", "-k", self.folder, "-h", "", *self._options()],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_user,
        )
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("PostgreSQL does not start")
            time.sleep(0.05)

    def _options(self) -> list[str]:
        return [] if self.durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]

    def answers(self) -> bool:
        """Whether it takes connections."""
        ready = [self.programs / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self) -> None:
        """Ends it at once, as a failure would, with its connections."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def create(self, database: str, *, template: str = "template1") -> str:
        """A new database, as empty as ``template`` is; returns its address."""
        names = map(sql.Identifier, (database, template))
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(database)

    def drop(self, database: str) -> None:
        """Removes a database, though somebody is connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as_user)
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")


@contextmanager
def postgres_server(*, durable: bool = True, place: Path | None = None) -> Iterator[PostgresServer | None]:
    """A server in a folder of its own below ``place``; None where PostgreSQL is not installed. One that is not durable
    is faster."""
    programs = find_postgres()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pg-", dir=place) as folder:
        os.chmod(folder, 0o755)  # noqa: S103
        server = PostgresServer(programs, Path(folder), durable=durable)
        try:
            yield server
        finally:
            server.stop()
