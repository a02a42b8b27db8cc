"""What happens to a request before it is looked at and after it is answered, in both servers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from videoalign.errors import ConfigError
from videoalign.web.edge import AccessLog, HeadAsGet, InOwnWords, Intake

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00) (\S+) (\S+) (\S+) (\S+) (\d+) (\d+\.\d)")


def client(*middlewares: tuple[Any, dict[str, Any]]) -> TestClient:
    """A small application with these round it, the first outermost."""
    app = FastAPI()

    @app.get("/say/{word}")
    async def say(word: str) -> str:
        return word

    @app.post("/form")
    async def form(text: str = Form()) -> str:
        return text

    @app.post("/json")
    async def json(body: dict[str, Any]) -> int:
        return len(body)

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError

    for kind, options in reversed(middlewares):
        app.add_middleware(kind, **options)
    return TestClient(app, raise_server_exceptions=False)


def test_every_request_leaves_one_line_that_no_path_can_break_and_no_link_can_be_read_from(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    asked = client((AccessLog, {"file": file, "secret": "/say/"}))
    asked.get("/say/secret-token?also=secret")
    asked.get("/say")
    asked.get("/a%0Ab\u00e9 c")
    asked.post("/json", json={"a": 1})
    asked.get("/fails")
    lines = file.read_text().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    assert [(one[3], one[4], one[5], one[6]) for one in found if one] == [
        ("GET", "/say/...", "200", "14"),
        ("GET", "/say", "404", "22"),
        ("GET", "/a%0Ab%C3%A9%20c", "404", "22"),
        ("POST", "/json", "200", "1"),
        ("GET", "/fails", "500", "0"),
    ]
    assert "secret" not in file.read_text()
    file.rename(tmp_path / "access.log.1")
    asked.get("/say/x")
    assert len(file.read_text().splitlines()) == 1, "a log that is moved away is begun anew"


def test_a_log_that_cannot_be_written_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="access_log"):
        AccessLog(FastAPI(), tmp_path / "absent" / "access.log")


def test_what_the_framework_refuses_is_said_in_the_form_of_the_server() -> None:
    async def answer(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"own": error.status_code}, error.status_code)

    asked = client(
        (InOwnWords, {"answer": answer}),
        (TrustedHostMiddleware, {"allowed_hosts": ["testserver"]}),
        (RequestBodyLimitMiddleware, {"max_body_size": 100}),
        (HeadAsGet, {}),
    )
    for refused, status in (
        (asked.get("/say/x", headers={"host": "elsewhere"}), 400),
        (asked.post("/json", content=b" " * 101), 413),
        (asked.post("/nowhere", content=b" " * 101), 413),
    ):
        assert refused.status_code == status
        assert refused.json() == {"own": status}
    assert asked.post("/json", content=b"{").status_code == 422
    assert asked.post("/json", content=(b" " * 60 for _ in range(2))).status_code == 413
    assert asked.get("/say/x").json() == "x"
    head = asked.head("/say/xyz")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "5")
    assert asked.head("/json").status_code == 405


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "unicode_escape", "UTF-16", "x", "utf-8; charset=punycode"])
def test_forms_in_other_charsets_are_refused_before_they_are_read(charset: str) -> None:
    asked = client((Intake, {"seconds": 60}))
    part = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n+2D0-\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x; charset="
    answer = asked.post("/form", content=part, headers={"content-type": kind + charset})
    assert answer.status_code == 415
    for fine in ("utf-8", "UTF-8", '"utf8"', "us-ascii"):
        answer = asked.post("/form", content=part, headers={"content-type": kind + fine})
        assert (answer.status_code, answer.json()) == (200, "+2D0-"), fine
