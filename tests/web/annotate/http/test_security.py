"""What nobody may do: come in without a link, see or write what is not theirs, forge, replay, inject, flood."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.web.annotate.http.sessions import cookie_name
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.storage.tables import Assignment, Invitation, Said, SignIn

Open = Callable[..., Any]
Make = Callable[..., Path]

OPEN_TO_ALL = {"/crowd", "/health", "/ready", "/join/{token}", "/signed-out"}
ADMIN_PAGES = ["", "/raters", "/invitations", "/pairs", "/pairs/1", "/agreement", "/leaderboard", "/audit"]
SCRIPT = "<script>alert(1)</script>"


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Method and path of everything that is served."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path


def every_value(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from every_value(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from every_value(inner)
    else:
        yield str(value)


@pytest.mark.databases("sqlite")
def test_nothing_is_served_without_a_session(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1, files=True))
    rater = programme.invite()
    url = rater.next()["assignment"]["left"]["url"]
    assert rater.http.get(url).status_code == 200
    stranger = programme.client()
    assert stranger.get(url).status_code == 401
    served = list(routes(stranger.app))
    assert len(served) > 25
    for method, path in served:
        if path not in OPEN_TO_ALL:
            plain = re.sub(r"\{side\}", "left", re.sub(r"\{(number|person|invitation|pair)\}", "1", path))
            answer = stranger.request(method, re.sub(r"\{\w+\}", "x", plain), follow_redirects=False)
            assert answer.status_code == 401, (method, path)
    stranger.cookies.set(cookie_name(programme.running), "x" * 43)
    assert stranger.get("/rate").status_code == 401
    assert stranger.get("/openapi.json").status_code == 404


@pytest.mark.databases("sqlite")
def test_a_rater_sees_no_admin_page_and_no_adjudication(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    for person in (programme.invite(), programme.invite("adjudicator")):
        for path in ADMIN_PAGES:
            assert person.http.get(f"/admin{path}").status_code == 403, path
        for path in ("overview", "agreement", "raters", "leaderboard"):
            assert person.http.get(f"/api/admin/{path}").status_code == 403, path
        body = {"role": "admin", "name": "me"}
        assert person.http.post("/api/admin/invitations", json=body).status_code == 403
        assert person.http.post("/api/admin/raters/1/pause", json={}).status_code == 403
        assert person.http.post("/api/admin/invitations/1/revoke").status_code == 403
    rater = programme.invite()
    assert rater.http.get("/adjudicate").status_code == 403
    assert rater.http.post("/adjudicate/1").status_code == 403
    assert programme.admin.http.get("/api/next").status_code == 403


def test_a_rater_can_neither_see_nor_touch_what_another_was_given(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(2, files=True))
    owner, other = programme.invite(), programme.invite()
    assignment = owner.next()["assignment"]
    body = other.body(assignment, "left")
    for path, content in (
        ("/api/judgements", body),
        ("/api/skip", {"assignment": assignment["id"], "reason": "mine now"}),
        ("/api/heartbeat", {"assignment": assignment["id"], "draft": {}}),
    ):
        assert other.http.post(path, json=content).status_code == 404
    for side in ("left", "right"):
        assert other.http.get(assignment[side]["url"]).status_code == 404
    with programme.running.database.read() as session:
        assert session.scalar(select(Said.id)) is None
        assert session.get(Assignment, assignment["id"]).draft is None


def test_gold_cannot_be_told_from_other_pairs(open_programme: Open, make_dataset: Make, tmp_path: Path) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\n" + "".join(f"c00{p}-0,c00{p}-1,A\n" for p in range(6)), encoding="utf-8")
    programme = open_programme(make_dataset(9), gold=gold, gold_share=0.5, min_gold=100, raters_per_pair=1)
    rater = programme.invite()
    shapes, seen = set(), []
    while (turn := rater.next())["assignment"] is not None:
        seen += every_value(turn)
        shapes.add(json.dumps({key: type(value).__name__ for key, value in sorted(turn["assignment"].items())}))
        rater.judge()
    with programme.running.database.read() as session:
        kinds = set(session.scalars(select(Assignment.kind)))
    assert kinds == {"rating", "gold"}
    assert len(shapes) == 1
    assert not {"gold", "kind", "answers", "answer", "repeat"} & {word.lower() for word in seen}
    assert not any(re.search(r"c00\d-\d", word) for word in seen), "ids of clips would tell as well"


@pytest.mark.databases("sqlite")
def test_every_change_needs_the_token_of_its_session(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(2))
    rater, other = programme.invite(), programme.invite()
    body = rater.body(rater.next()["assignment"])
    mine = rater.http.headers.pop("x-csrf-token")
    for wrong in ({}, {"x-csrf-token": other.http.headers["x-csrf-token"]}, {"x-csrf-token": "\xe4"}):
        answer = rater.http.post(
            "/api/judgements", json=body, headers={k: v.encode("latin-1") for k, v in wrong.items()}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf")
    admin = programme.admin.http
    token = admin.headers.pop("x-csrf-token")
    form = {"name": "Mallory", "role": "admin"}
    for method, path in routes(admin.app):
        if method == "POST" and "/admin/" in path:
            plain = re.sub(r"\{\w+\}", "1", path)
            assert admin.post(plain, data=form).status_code in (403, 422), path
    assert admin.post("/admin/invitations", data=form).status_code == 403
    assert admin.post("/admin/invitations", data=form | {"csrf_token": token}).status_code == 200
    assert rater.http.post("/api/judgements", json=body, headers={"x-csrf-token": mine}).status_code == 200


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "http://evil.test"}]
)
def test_pages_of_other_sites_cannot_send_anything(
    open_programme: Open, make_dataset: Make, headers: dict[str, str]
) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    answer = rater.http.post("/api/judgements", json=rater.body(rater.next()["assignment"]), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    link = programme.link().removeprefix("http://rate.test")
    assert programme.client().post(link, headers=headers).status_code == 403
    same = {"origin": "http://rate.test", "sec-fetch-site": "same-origin"}
    assert programme.client().post(link, headers=same, follow_redirects=False).status_code == 303


def test_a_link_opens_one_session_and_looking_at_it_none(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    link = programme.link().removeprefix("http://rate.test")
    client = programme.client()
    for _ in range(2):
        assert client.get(link).status_code == 200
        assert not client.cookies
    first = client.post(link, follow_redirects=False)
    assert first.status_code == 303
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    again = programme.client().post(link)
    assert again.status_code == 410
    assert 'data-code="used_link"' in again.text


@pytest.mark.databases("sqlite")
def test_cookies_are_for_https_alone_where_that_is_how_people_come(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), public_url="https://rate.test")
    link = programme.link()
    assert link.startswith("https://rate.test/join/")
    answer = programme.client().post(link.removeprefix("https://rate.test"), follow_redirects=False)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(("what", "code"), [("forged", 404), ("expired", 410), ("revoked", 410)])
def test_a_link_that_is_forged_expired_or_revoked_opens_nothing(
    open_programme: Open, make_dataset: Make, clock: Any, what: str, code: int
) -> None:
    programme = open_programme(make_dataset(1), link_hours=1)
    link = programme.link().removeprefix("http://rate.test")
    if what == "forged":
        link = link[:-1] + ("A" if link[-1] != "A" else "B")
    elif what == "expired":
        clock.time += 3601
    else:
        with programme.running.database.read() as session:
            number = session.scalar(select(Invitation.id).order_by(Invitation.id.desc()))
        assert programme.admin.http.post(f"/api/admin/invitations/{number}/revoke").status_code == 200
    for method in ("GET", "POST"):
        answer = programme.client().request(method, link)
        assert answer.status_code == code
        assert not answer.cookies
        assert f"{what}_link" in answer.text or what == "forged"


def test_revoking_a_link_closes_the_session_that_it_opened(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    with programme.running.database.read() as session:
        number = session.scalar(select(SignIn.invitation_id).order_by(SignIn.id.desc()))
    programme.admin.http.post(f"/api/admin/invitations/{number}/revoke")
    assert rater.http.get("/api/next").status_code == 401


def test_sessions_end_by_time_and_by_signing_out(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(1), session_hours=2)
    leaves, stays = programme.invite(), programme.invite()
    cookie = leaves.http.cookies[cookie_name(programme.running)]
    assert leaves.http.post("/sign-out").url.path == "/signed-out"
    leaves.http.cookies.set(cookie_name(programme.running), cookie)
    assert leaves.http.get("/api/next").status_code == 401
    assert stays.http.get("/api/next").status_code == 200
    clock.time += 2 * 3600 + 1
    assert stays.http.get("/api/next").status_code == 401


def test_the_database_holds_no_token(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    link = programme.link()
    rater = programme.invite()
    secrets = {
        link.rpartition("/")[2],
        rater.http.cookies[cookie_name(programme.running)],
        rater.http.headers["x-csrf-token"],
    }
    with programme.running.database.read() as session:
        for table in ("invitations", "sessions", "people", "audit", "programme"):
            for row in session.execute(text(f"SELECT * FROM {table}")):
                assert not [secret for secret in secrets for cell in row if secret in str(cell)]


@pytest.mark.parametrize("path", ["../../etc/passwd.mp4", "clips/../../secret.mp4", "clips/notes.txt", "s3://b/c.mp4"])
def test_a_dataset_cannot_make_the_server_show_other_files(make_dataset: Make, path: str) -> None:
    folder = make_dataset(1)
    dataset = Dataset.open(folder)
    first, *rest = dataset.clips()
    dataset.write_clips([Clip(**(vars(first) | {"path": path})), *rest])
    with pytest.raises(DataError, match=re.escape(f"clip '{first.clip_id}'")):
        Library(folder)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "path",
    [
        "/media/{id}/../../dataset.json",
        "/media/{id}/%2e%2e%2f%2e%2e%2fdataset.json",
        "/media/{id}/left%00",
        "/media/..%2f..%2fetc%2fpasswd/left",
        "/media/examples/-1",
        "/media/examples/0",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
    ],
)
def test_paths_lead_nowhere_else(open_programme: Open, make_dataset: Make, path: str) -> None:
    programme = open_programme(make_dataset(1, files=True))
    rater = programme.invite()
    answer = rater.http.get(path.format(id=rater.next()["assignment"]["id"]))
    assert answer.status_code == 404
    assert "schema_version" not in answer.text


@pytest.mark.databases("sqlite")
def test_what_people_write_is_never_part_of_a_page(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1, text=SCRIPT + " {}"), raters_per_pair=2, programme=SCRIPT)
    raters = [programme.invite(name=SCRIPT) for _ in range(2)]
    for rater, verdict in zip(raters, ("left", "right"), strict=True):
        sides = {True: {"left": "right", "right": "left"}[verdict], False: verdict}
        with programme.running.database.read() as session:
            swapped = session.get(Assignment, rater.next()["assignment"]["id"]).swapped
        rater.judge(sides[swapped], comment=SCRIPT)
    skip = {"reason": SCRIPT}
    adjudicator = programme.invite("adjudicator", SCRIPT)
    pages = [adjudicator.http.get(path) for path in ("/adjudicate", "/rate", "/guideline")]
    asked = adjudicator.http.get("/api/next")
    assert asked.json()["assignment"]["said"][0]["comment"] == SCRIPT
    assert asked.headers["content-type"] == "application/json"
    adjudicator.http.post("/api/skip", json=skip | {"assignment": asked.json()["assignment"]["id"]})
    pages += [programme.admin.http.get(f"/admin{path}") for path in ADMIN_PAGES]
    link = programme.link(name=SCRIPT).removeprefix("http://rate.test")
    pages += [programme.client().get(link), programme.client().get(f"/join/{SCRIPT}")]
    for page in pages:
        assert SCRIPT not in page.text, page.url
        assert "&lt;script&gt;" in page.text, page.url


@pytest.mark.databases("sqlite")
def test_pages_run_no_script_but_our_files(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    pages = [rater.http.get("/rate"), *(programme.admin.http.get(f"/admin{path}") for path in ADMIN_PAGES)]
    for page in [*pages, programme.client().get("/rate"), rater.http.get("/api/next")]:
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", page.text)
        assert not re.search(r"\son\w+=|\sstyle=|javascript:|https?://(?!rate\.test)", page.text), page.url


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_before_it_is_read(
    open_programme: Open, make_dataset: Make, declared: bool
) -> None:
    programme = open_programme(make_dataset(1), max_body_bytes=4096)
    rater = programme.invite()
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b" " * 1000

    content = b" " * 10_000 if declared else parts()
    answer = rater.http.post("/api/judgements", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.databases("sqlite")
def test_what_is_not_json_is_refused_in_words(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    deep = b"[" * 50_000
    for content in (b"{", b"null", b"[]", b"\xff", deep, b'{"assignment": {"$ne": ""}}'):
        answer = rater.http.post("/api/judgements", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), content[:20]
        assert set(answer.json()["error"]) == {"code", "reason"}
