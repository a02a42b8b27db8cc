"""Raters see the picture or clip that was asked with; nobody else does, and nothing else is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.media_index import Library

pytestmark = pytest.mark.databases("sqlite")

Open = Callable[..., Any]
Make = Callable[..., Path]


def asked_with(folder: Path, *media: str) -> Path:
    """The dataset whose prompts were asked with these."""
    dataset = Dataset.open(folder)
    dataset.write_prompts(replace(row, media=one) for row, one in zip(dataset.prompts(), media, strict=True))
    return folder


def test_whoever_judges_a_pair_sees_what_was_asked_with_and_nobody_else(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = asked_with(make_dataset(2, files=True), "clips/start.png", "")
    Image.new("RGB", (8, 8), "red").save(folder / "clips/start.png")
    programme = open_programme(folder, public_url="https://lab.test/prefs")
    rater, other = programme.invite(), programme.invite()
    turns = [rater.next()["assignment"], rater.judge()["assignment"]]
    by_prompt = {turn["prompt"]: turn for turn in turns}
    assert by_prompt["prompt 1"]["reference"] is None
    reference = by_prompt["prompt 0"]["reference"]
    assert reference["kind"] == "image"
    assert reference["url"].startswith("/prefs/media/")
    path = reference["url"].removeprefix("/prefs")
    shown = rater.http.get(path)
    assert (shown.headers["content-type"], shown.content) == ("image/png", (folder / "clips/start.png").read_bytes())
    assert other.http.get(path).status_code == 404
    assert programme.client().get(path).status_code == 401
    without = f"/media/{by_prompt['prompt 1']['id']}/prompt"
    assert rater.http.get(without).status_code == 404
    page = programme.admin.http.get("/admin/pairs/1").text
    assert page.count("/prefs/media/pairs/1/prompt") == 1
    assert "/media/pairs/2/prompt" not in programme.admin.http.get("/admin/pairs/2").text
    assert programme.admin.http.get("/media/pairs/1/prompt").content == shown.content
    assert rater.http.get("/media/pairs/1/prompt").status_code == 403
    (folder / "clips/start.png").unlink()
    assert rater.http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("media", "why"),
    [
        ("../secret.png", "leaves the dataset's folder"),
        ("dataset.json", "wanted a file ending in .png"),
        ("gone.png", "is not there"),
        ("https://a.test/b.png", "not on this machine"),
    ],
)
def test_what_cannot_be_shown_is_left_out_and_told(make_dataset: Make, media: str, why: str) -> None:
    folder = make_dataset(1, files=True)
    Image.new("RGB", (8, 8)).save(folder.parent / "secret.png")
    references = Library(asked_with(folder, media)).references
    assert not references.shown
    (note,) = references.notes()
    assert why in note and "prompt 'p000'" in note


def test_a_clip_that_was_asked_with_is_looked_into_as_the_others_are(make_dataset: Make) -> None:
    folder = make_dataset(3, files=True)
    (folder / "clips/torn.mp4").write_bytes((folder / "clips/c000-0.mp4").read_bytes()[:500])
    references = Library(asked_with(folder, "clips/c000-0.mp4", "clips/torn.mp4", "")).references
    assert {name: kind for name, (_, kind) in references.shown.items()} == {"p000": "video/mp4"}
    (note,) = references.notes()
    assert "prompt 'p001'" in note and "torn.mp4" in note
