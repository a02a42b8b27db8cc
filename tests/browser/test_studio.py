"""The studio as people meet it: a page in headless Chromium over a model of a few thousand weights."""

from __future__ import annotations

import base64
import runpy
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from videoalign.cli.main import main
from videoalign.video.files import read_video
from videoalign.web.studio.app import Studio, build_studio
from videoalign.web.studio.cache import Cache

HERE = Path(__file__).parent
BROWSER = runpy.run_path(str(HERE / "conftest.py"))
EXAMPLE = runpy.run_path(str(HERE.parent / "studio_example.py"))
wait_until: Callable[..., Any] = BROWSER["wait_until"]
PROMPT, OTHER = EXAMPLE["PROMPT"], EXAMPLE["OTHER"]
DROP = """async ([address, type]) => {
  const content = await (await fetch(address)).blob();
  const transfer = new DataTransfer();
  transfer.items.add(new File([content], "clip.mp4", { type }));
  for (const name of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
FETCH = """async (address) => {
  const bytes = new Uint8Array(await (await fetch(address)).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    opened = EXAMPLE["open_example"](EXAMPLE["write_parts"](folder))
    studio = Studio(opened, Cache(folder / "cache", 2**30))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        studio.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"  # type: ignore[attr-defined]
        server = uvicorn.Server(uvicorn.Config(build_studio(studio), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield studio
        server.should_exit = True
        thread.join()


class Page:
    """A browser of its own with the studio in it."""

    def __init__(self, chromium: Any, studio: Any, **options: Any) -> None:
        self.context = chromium.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(f"{request.method} {request.url}"))
        self.page.goto(studio.url)
        self.until(lambda: self.text("#ready"), "the page begins")

    def until(self, holds: Callable[[], Any], what: str) -> None:
        wait_until(holds, what=what)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content() or ""

    def is_shown(self, selector: str) -> bool:
        return self.page.locator(selector).first.is_visible()

    def slide(self, name: str, value: float) -> None:
        self.page.get_by_label(name, exact=True).fill(str(value))

    def value(self, name: str) -> float:
        return float(self.page.get_by_label(name, exact=True).input_value())

    def ask(self, *, seeds: str = "0", **sliders: float) -> None:
        """Sets seeds and sliders, by their labels."""
        self.page.locator("#seeds").fill(seeds)
        for name, value in sliders.items():
            self.slide(name, value)

    def make(self, **asked: Any) -> None:
        """Makes what `ask` is told, or else what the settings ask for, and waits until it is on show."""
        if asked:
            self.ask(**asked)
        self.page.locator("#make").click()
        self.until(lambda: self.text("#ready") == "These clips are there.", "the clips")

    @property
    def urls(self) -> list[str]:
        return self.page.eval_on_selector_all(".frame video", "all => all.map(one => one.dataset.url)")

    def frames(self, address: str) -> np.ndarray:
        return read_video(base64.b64decode(self.page.evaluate(FETCH, address))).frames


PULLED: dict[str, Any] = {"VQ": 1, "Strength": 4}
"""Sliders of a clip that most tests look at, so that it is made once."""


@pytest.fixture
def one(chromium: Any, studio: Any) -> Iterator[Page]:
    page = Page(chromium, studio)
    yield page
    assert page.complaints == []
    page.context.close()


@pytest.fixture
def two(chromium: Any, studio: Any) -> Iterator[Page]:
    page = Page(chromium, studio)
    yield page
    assert page.complaints == []
    page.context.close()


@pytest.fixture
def held(studio: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Clips stop at their second step until this is set."""
    from videoalign.web.studio.jobs import Job

    go, step = threading.Event(), Job.step

    def stopping(job: Job, number: int, of: int) -> None:
        while number == 2 and not go.wait(0.02) and job.wanted.is_set():
            pass
        step(job, number, of)

    monkeypatch.setattr(Job, "step", stopping)
    return go


def test_a_job_tells_how_far_it_is_and_shows_the_clip_on_its_way(one: Page, held: threading.Event) -> None:
    one.ask(seeds="5-6", **PULLED)
    one.page.locator("#make").click()
    one.until(lambda: "clip 1 of 4, step 1 of 3" in one.text("#job-text"), "the first step")
    held.set()
    one.until(lambda: one.text("#ready") == "These clips are there.", "the clips")
    assert not one.is_shown("#job")
    assert one.page.locator("#scores tbody tr").count() == 2
    assert "2 seeds" in one.text("#scores-says") and "[" in one.text("#scores .difference")
    assert one.page.locator("#curve-plots polyline").count() == 4


def test_both_clips_play_together_and_a_change_of_view_asks_for_nothing(one: Page) -> None:
    one.make(**PULLED)
    assert one.page.locator(".frame video").count() == 2
    together = {"clips": 2, "apart": 0.1, "moments": 6, "length": 9 / 8}
    assert len(one.page.evaluate(BROWSER["TOGETHER"], together)) == 6
    asked = len(one.asked)
    for key in ("w", "+", "Shift+ArrowLeft", ";", "w", "0", " ", ".", ","):
        one.page.keyboard.press(key)
    assert one.page.locator("#zoom").text_content() == "100%"
    one.page.keyboard.press("+")
    moved = one.page.eval_on_selector_all(".frame video", "all => all.map(one => getComputedStyle(one).transform)")
    assert moved[0] == moved[1] != "none"
    one.page.keyboard.press("0")
    assert len(one.asked) == asked


def test_keys_choose_the_seed(one: Page) -> None:
    one.make(seeds="0-1", **PULLED)
    first = one.urls
    one.page.keyboard.press("2")
    one.until(lambda: one.urls != first and len(one.urls) == 2, "the second seed")
    assert one.page.locator("#seeds-shown [aria-pressed=true]").text_content() == "Seed 1"
    one.page.keyboard.press("1")
    one.until(lambda: one.urls == first, "the first seed")


def test_a_slider_moved_back_shows_its_clips_without_a_job(one: Page, studio: Any) -> None:
    one.make(**PULLED)
    first, made = one.urls, set(studio.cache.folder.iterdir())
    one.slide("MQ", 0.5)
    one.until(lambda: one.text("#ready") == "1 clip is not made yet.", "that one is missing")
    one.make()
    assert one.urls[0] == first[0] and one.urls[1] != first[1]
    asked = len(one.asked)
    one.slide("MQ", 0)
    one.until(lambda: one.urls == first, "the first clips")
    assert not any("POST" in line and "compare" not in line for line in one.asked[asked:])
    assert len(set(studio.cache.folder.iterdir()) - made) == 1


def test_what_is_being_made_is_given_up_by_a_key(one: Page, held: threading.Event, studio: Any) -> None:
    one.ask(VQ=1, Strength=5)
    one.page.keyboard.press("Enter")
    one.until(lambda: "step 1" in one.text("#job-text"), "a step")
    made = set(studio.cache.folder.glob("*"))
    one.page.keyboard.press("x")
    one.until(lambda: one.text("#ready") == "Cancelled.", "the end")
    assert not one.is_shown("#job") and set(studio.cache.folder.glob("*")) == made


def test_two_people_do_not_mix(one: Page, two: Page, held: threading.Event) -> None:
    two.page.locator("#prompt").fill(OTHER)
    two.slide("VQ", 0.5)
    two.page.locator("#make").click()
    two.until(lambda: "step 1" in two.text("#job-text"), "a step")
    one.ask(MQ=0.25, **PULLED)
    one.page.locator("#make").click()
    one.until(lambda: "1 job before it" in one.text("#job-text"), "its turn")
    held.set()
    two.until(lambda: two.text("#ready") == "These clips are there.", "the clips of the second")
    one.until(lambda: one.text("#ready") == "These clips are there.", "the clips of the first")
    assert not set(one.urls) & set(two.urls)
    assert two.page.evaluate("async (url) => (await fetch(url)).status", one.urls[1]) == 404
    jobs = "async () => (await (await fetch('/api/jobs')).json()).jobs.map((job) => job.settings.prompt)"
    assert set(two.page.evaluate(jobs)) == {OTHER} and set(one.page.evaluate(jobs)) == {PROMPT}


def test_the_command_on_the_page_makes_the_frames_on_the_page(
    one: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one.make(**PULLED)
    assert main(shlex.split(one.text("#command"))[1:]) == 0
    (path,) = (tmp_path / "clips").glob("*.mp4")
    assert np.array_equal(read_video(path).frames, one.frames(one.urls[1]))


def test_a_dropped_clip_brings_every_slider_back_and_a_foreign_one_nothing(one: Page) -> None:
    one.page.locator("#adapter").select_option("bright")
    one.page.locator("#steps").fill("2")
    one.make(Scale=0.5, MQ=0.75, **PULLED)
    address, shown = one.page.locator("#save").get_attribute("href"), one.urls
    one.page.locator("#adapter").select_option("")
    one.page.locator("#prompt").fill(OTHER)
    one.page.locator("#steps").fill("")
    one.slide("MQ", 0)
    one.slide("Strength", 1)
    one.page.evaluate(DROP, [address, "video/mp4"])
    one.until(lambda: one.value("Strength") == 4, "the sliders")
    one.until(lambda: one.text("#ready") == "These clips are there." and one.urls == shown, "the clip")
    assert (one.page.locator("#prompt").input_value(), one.page.locator("#adapter").input_value()) == (PROMPT, "bright")
    assert (one.value("VQ"), one.value("MQ"), one.value("Strength"), one.value("Scale")) == (1, 0.75, 4, 0.5)
    assert one.page.locator("#steps").input_value() == "2"
    one.page.evaluate(DROP, ["/static/icon.svg", "image/svg+xml"])
    one.until(lambda: one.is_shown("#alert"), "a reason")
    assert one.page.locator("#prompt").input_value() == PROMPT
    one.page.locator("#alert-close").click()


def test_a_grid_opens_its_clips_by_mouse_and_by_arrows(one: Page) -> None:
    one.ask(**PULLED)
    one.page.locator("#points").fill("6")
    one.page.locator("#make-grid").click()
    one.until(lambda: one.is_shown("#sheet"), "the grid")
    assert one.page.locator("#map .point").count() == one.page.locator("#plot .point").count() == 6
    corner = one.page.locator("#map .point").nth(3)
    corner.click()
    one.until(lambda: one.text("#ready") == "These clips are there.", "the clip of the corner")
    assert (one.value("VQ"), one.value("MQ")) == (1, 1)
    assert corner.get_attribute("aria-pressed") == "true"
    one.page.mouse.click(5, 5)
    one.page.keyboard.press("ArrowDown")
    one.until(lambda: (one.value("VQ"), one.value("MQ")) == (1, 0), "the neighbour below")
    sheet = one.frames(str(one.page.locator("#sheet").get_attribute("href")))
    assert sheet.shape[0] == 9 and sheet.shape[2] > 3 * 160
    one.page.reload()
    one.until(lambda: one.page.locator("#map .point").count() == 6, "the grid again")


def test_a_prompt_of_script_is_a_text_and_the_page_comes_back_as_it_was(one: Page) -> None:
    one.make(VQ=1, Strength=3)
    one.page.locator("#prompt").fill("<img src=x onerror=document.title='stolen'>")
    one.until(lambda: "onerror" in one.text("#ready"), "the refusal")
    one.page.locator("#make").click()
    one.until(lambda: one.is_shown("#alert"), "the refusal")
    assert one.page.locator("#alert img, #ready img").count() == 0 and "stolen" not in one.page.title()
    one.page.reload()
    one.until(lambda: one.value("Strength") == 3, "the settings again")
    assert one.page.locator("#prompt").input_value() == PROMPT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(chromium: Any, studio: Any, scheme: str) -> None:
    phone = Page(chromium, studio, viewport={"width": 390, "height": 844}, is_mobile=True, color_scheme=scheme)
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    unnamed = """() => [...document.querySelectorAll('button, input, select, textarea, a')].filter(e =>
      e.checkVisibility() && !e.ariaLabel && !e.textContent.trim()
      && ![...(e.labels ?? [])].some(l => l.textContent.trim())).map(e => e.outerHTML)"""
    assert phone.page.evaluate(unnamed) == []
    assert phone.text("#method-says") and not phone.is_shown("#scale-slider"), "as the settings have it from the start"
    covers = """() => {
      const preview = document.getElementById('preview');
      preview.hidden = false;
      const of = preview.offsetParent.id;
      preview.hidden = true;
      return of;
    }"""
    assert phone.page.evaluate(covers) == "stage", (
        "a clip on its way lies over the players, not over the button to cancel"
    )
    phone.context.close()
