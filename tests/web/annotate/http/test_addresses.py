"""How people reach a programme: by a proxy, below a path, by several names, two programmes on one machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from videoalign.errors import ConfigError
from videoalign.web.annotate.http.app import create_app
from videoalign.web.annotate.http.server import serve_programme
from videoalign.web.annotate.http.sessions import cookie_name
from videoalign.web.annotate.settings import AnnotateSettings

pytestmark = pytest.mark.databases("sqlite")

Open = Callable[..., Any]
Make = Callable[..., Path]

ROOT = "https://lab.test/prefs"
ADMIN_PAGES = ["", "/raters", "/invitations", "/pairs", "/pairs/1", "/agreement", "/leaderboard", "/audit"]


def test_two_programmes_on_one_machine_do_not_sign_each_other_out(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    name = cookie_name(programme.running)
    assert list(rater.http.cookies) == [name]
    assert programme.running.key in name
    rater.http.cookies.set(name.replace(programme.running.key, "0" * 16), "of another programme")
    assert rater.http.get("/api/next").status_code == 200
    rater.http.post("/sign-out")
    assert name not in rater.http.cookies
    assert len(rater.http.cookies) == 1


@pytest.mark.parametrize("stripped", [False, True])
def test_below_a_path_every_link_leads_there_whether_or_not_the_proxy_takes_it_off(
    open_programme: Open, make_dataset: Make, stripped: bool
) -> None:
    folder = make_dataset(1, files=True)
    examples = ({"dimension": "VQ", "clip_id": "c000-0", "text": "noise"},)
    programme = open_programme(folder, public_url=f"{ROOT}/", examples=examples)
    link = programme.link()
    assert link.startswith(f"{ROOT}/join/")
    upstream = TestClient(programme.admin.http.app, base_url="https://lab.test" if stripped else ROOT)

    def path(address: str) -> str:
        """What the proxy asks the server for."""
        below = address.removeprefix("https://lab.test").removeprefix("/prefs")
        assert below != address.removeprefix("https://lab.test"), f"{address} leads out"
        return below

    joined = upstream.post(path(link), follow_redirects=False)
    assert joined.headers["location"] == "/prefs/"
    assert "Path=/prefs;" in joined.headers["set-cookie"]
    upstream.cookies = dict(joined.cookies)
    home = upstream.get("/", follow_redirects=False)
    assert home.headers["location"] == "/prefs/rate"
    pages = [
        upstream.get("/rate"),
        upstream.get("/guideline"),
        *(programme.admin.http.get(f"/admin{p}") for p in ADMIN_PAGES),
    ]
    for page in pages:
        assert page.status_code == 200, page.url
        found = re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)
        assert len(found) > 3
        for address in found:
            assert address.startswith("/prefs/"), (page.url, address)
            if "/static/" in address or "/media/" in address:
                assert upstream.get(path(address)).status_code in (200, 403), address
    assert 'aria-current="page">Raters' in pages[3].text
    assignment = upstream.get("/api/next").json()["assignment"]
    urls = [assignment["left"]["url"], assignment["right"]["url"]]
    urls += [one["url"] for d in upstream.get("/api/guideline").json()["dimensions"] for one in d["examples"]]
    assert len(urls) == 3
    for url in urls:
        assert upstream.get(path(url)).status_code == 200
    assert "data-code=" in upstream.get("/nowhere").text
    assert upstream.get("/api/nowhere").json()["error"]["code"] == "not_found"
    assert upstream.get("", follow_redirects=False).headers["location"] == "/prefs/rate"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Rate.Example.org:443/", "https://rate.example.org"),
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000"),
        ("https://lab.test/a/b-1/", "https://lab.test/a/b-1"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ],
)
def test_the_public_address_is_kept_as_browsers_write_it(given: str, kept: str) -> None:
    assert AnnotateSettings(public_url=given).public_url == kept
    assert AnnotateSettings(public_url=given).origin == re.match(r"https?://[^/]+", kept)[0]


@pytest.mark.parametrize(
    "given", ["lab.test", "ftp://lab.test", "https://", "https://a.test/?x=1", "https://a.test/#x", "https://u:p@a.test",
              "https://a.test/a//b", "https://a.test/ä", "https://a.test/a b", "javascript:alert(1)"]
)  # fmt: skip
def test_what_is_no_public_address_is_refused_in_words(given: str) -> None:
    with pytest.raises(ConfigError, match=r"public_url.*must look like https://rate\.example\.org"):
        AnnotateSettings.build_from({"public_url": given})


@pytest.mark.parametrize("root", ["/admin", "/rate/x", "/api", "/static", "/media/a", "/join"])
def test_a_path_that_the_server_has_pages_below_is_refused(open_programme: Open, make_dataset: Make, root: str) -> None:
    with pytest.raises(ConfigError, match="has pages below"):
        open_programme(make_dataset(1), public_url=f"https://lab.test{root}")


def test_browsers_that_say_only_where_a_page_is_from_may_write_from_the_public_address(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1), public_url="http://lab.test/prefs")
    upstream = {"host": "127.0.0.1:8000"}
    for origin, status in (
        ("http://lab.test", 303),
        ("http://127.0.0.1:8000", 303),
        ("https://lab.test", 403),
        ("http://lab.test:81", 403),
        ("http://evil.test", 403),
        ("null", 403),
    ):
        answer = programme.client().post(
            programme.link(), headers=upstream | {"origin": origin}, follow_redirects=False
        )
        assert answer.status_code == status, origin
    assert 'data-code="cross_site"' in answer.text, "a page, not JSON, for who presses Come in"


def test_without_a_public_address_a_refusal_says_what_to_set(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    link = programme.link().removeprefix("http://rate.test")
    page = programme.client().post(link, headers={"origin": "http://lab.test"})
    assert page.status_code == 403
    assert "must set public_url" in page.text


def test_names_that_the_server_is_not_known_by_are_refused(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    app = create_app(programme.running, ["lab.test", "[::1]"])
    for host, status in (("lab.test", 200), ("LAB.test:8000", 200), ("[::1]:8000", 200), ("evil.test", 400), ("", 400)):
        answer = TestClient(app).get("/health", headers={"host": host})
        assert answer.status_code == status, host
    assert set(answer.json()["error"]) == {"code", "reason"}
    assert "hosts" in answer.json()["error"]["reason"]


def test_head_is_answered_as_get_without_a_body(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1, files=True))
    rater = programme.invite()
    url = rater.next()["assignment"]["left"]["url"]
    for path in ("/health", "/ready", "/rate", "/guideline", "/api/next", "/static/app.css", "/nowhere", url):
        got, head = rater.http.get(path), rater.http.head(path)
        assert (head.status_code, head.headers.get("content-type")) == (got.status_code, got.headers["content-type"])
        assert head.content == b""
        assert got.content
    assert rater.http.head("/admin").status_code == 403
    assert rater.http.head("/api/undo").status_code == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "server.example.org", ""])
def test_links_that_would_lead_nowhere_are_asked_about_before_anything_is_opened(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"^--host: .*set public_url="):
        serve_programme(tmp_path, AnnotateSettings(host=host), on_start=print)
    assert not list(tmp_path.iterdir())


def test_a_request_that_does_not_arrive_is_not_waited_for(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), read_seconds=0.2)

    async def never() -> Any:
        yield b"{"
        await asyncio.sleep(600)

    async def send(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(programme.admin.http.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://rate.test") as client:
            return await client.post(path, content=never(), headers={"content-type": "application/json"})

    for path in ("/api/judgements", "/api/admin/invitations"):
        answer = asyncio.run(send(path))
        assert (answer.status_code, answer.json()["error"]["code"]) == (408, "too_slow")
        assert answer.headers["connection"] == "close"
