"""The annotation app as people meet it: the real command on a small dataset, and headless Chromium."""

from __future__ import annotations

import csv
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.video.files import probe, write_video

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PLAIN = ["repeat_share=0", "gold_share=0", "qualification_pairs=0", "seed=3"]
INVITE = """async (body) => {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
  const answer = await fetch("/api/admin/invitations", { method: "POST", headers, body: JSON.stringify(body) });
  return (await answer.json()).link;
}"""


TOGETHER = """async ({ clips, apart, moments, length }) => {
  const videos = [...document.querySelectorAll('video')].slice(0, clips), end = performance.now() + 90_000;
  let seen = [];
  while (seen.length < moments) {
    const times = videos.map(v => v.currentTime);
    if (performance.now() > end) throw new Error(`not together: ${JSON.stringify({ times, seen })}`);
    if (!videos.some(v => v.paused || v.ended)) {
      const far = Math.max(...times) - Math.min(...times);
      if (Math.min(far, length - far) >= apart) seen = [];
      else if (times[0] !== seen.at(-1)) seen.push(times[0]);
    }
    await new Promise(resolve => setTimeout(resolve, 15));
  }
  return seen;
}"""
"""Resolves once the first clips were seen to play at so many different moments in a row, none as far as ``apart``
seconds from another on a loop of ``length`` seconds."""


def wait_until(holds: Callable[[], Any], seconds: float = 90.0, what: str | Callable[[], str] = "") -> Any:
    """What ``holds`` returns once it is true; the page's rules forbid Playwright's own way of waiting.

    ``what`` was waited for in vain, or says so when asked. The time is for a machine that is busy with other things: no
    more than a broken page needs to be found out.
    """
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, f"waited {seconds} s in vain {what() if callable(what) else what}"
        time.sleep(0.03)
    return value


class Programme:
    """A rating programme served by the real command, which may be killed and started again."""

    def __init__(self, browser: Any, folder: Path, *settings: str) -> None:
        self.browser, self.folder, self.settings = browser, folder, settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.contexts: list[Any] = []
        self.start()
        self.admin = self.come_in(self.admin_link, "**/admin")
        self.admin.wait_for_load_state()

    def start(self) -> None:
        command = [sys.executable, "-c", "from videoalign.cli.main import main; raise SystemExit(main())"]
        words = ["annotate", "serve", str(self.folder), "--port", str(self.port), *PLAIN, *self.settings]
        self.process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http\S+/join/\S+", line):
                self.admin_link = found[0]
                return
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.kill()

    def come_in(self, link: str, arrives: str = "**/rate", **options: Any) -> Any:
        """A page of a browser of its own, in which a link was opened and accepted with the keyboard."""
        context = self.browser.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        context.set_default_timeout(90_000)
        self.contexts.append(context)
        page = context.new_page()
        page.complaints, page.asked = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on(
            "console", lambda said: page.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.goto(link)
        page.get_by_role("button", name="Come in").press("Enter")
        page.wait_for_url(arrives, wait_until="commit")
        return page

    def invite(self, role: str, name: str) -> str:
        """A link for somebody new."""
        return self.admin.evaluate(INVITE, {"role": role, "name": name})

    def rater(self, name: str = "Mina", **options: Any) -> Any:
        """The rating page of a new rater, with its first pair on show."""
        page = self.come_in(self.invite("rater", name), **options)
        wait_until(lambda: page.locator("#pair").is_visible())
        return page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium; the test is skipped where it, or Playwright, is absent.

    It ends with the module: while Playwright runs, no other test of the process may start an event loop.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it is in the dev extra")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here; install the Debian package chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def open_programme(chromium: Any) -> Iterator[Callable[..., Programme]]:
    """Serves a dataset folder; all programmes end with the module."""
    opened: list[Programme] = []

    def start(folder: Path, *settings: str) -> Programme:
        opened.append(Programme(chromium, folder, *settings))
        return opened[-1]

    yield start
    for programme in opened:
        programme.close()


def write_grey(path: Path, num_frames: int, fps: float) -> None:
    """A clip whose frame k is grey of level 20 + 4 k, so that a picture of it tells its number."""
    levels = 20 + 4 * np.arange(num_frames)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, 96, 160, 3)).astype(np.uint8)
    write_video(path, Video(frames, fps))


@pytest.fixture(scope="module")
def grey_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prompts; each has a clip of 2 s at 24 frames per second and one of 1.5 s at 30."""
    folder = tmp_path_factory.mktemp("grey") / "prefs"
    dataset = Dataset.create(folder, DatasetInfo())
    for name, num_frames, fps in (("long", 48, 24.0), ("short", 45, 30.0)):
        write_grey(folder / f"clips/{name}.mp4", num_frames, fps)
    prompts = [Prompt(prompt_id=f"p{k}", text=f"a grey sheet that grows lighter, take {k}") for k in range(2)]
    clips = [
        Clip(
            clip_id=f"{name}{k}",
            prompt_id=f"p{k}",
            path=f"clips/{name}.mp4",
            generator=name,
            fps=fps,
            num_frames=num_frames,
            height=96,
            width=160,
        )
        for k in range(2)
        for name, num_frames, fps in (("long", 48, 24.0), ("short", 45, 30.0))
    ]
    dataset.add(prompts=prompts, clips=clips)
    return folder


@pytest.fixture(scope="module")
def real_dataset(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs of real clips: three of 4 to 6 seconds, one of them with sound, and seven of 1.6 to 3.2 seconds."""
    folder = tmp_path_factory.mktemp("real") / "prefs"
    dataset = Dataset.create(folder, DatasetInfo())
    pairs: dict[str, dict[str, Path]] = {}
    with (shared / "data/videoalign_pairs/pairs.csv").open() as file:
        for row in csv.DictReader(file):
            pairs[row["prompt"]] = {f"model {s}": shared / "data/videoalign_pairs" / row[f"path_{s}"] for s in "AB"}
    with (shared / "data/fetv/ratings.csv").open() as file:
        for row in csv.DictReader(file):
            clips = pairs.setdefault(row["prompt"], {}) if len(pairs) < 10 or row["prompt"] in pairs else {}
            if len(clips) < 2:
                clips[row["model"]] = shared / "data/fetv" / row["clip"]
    assert len(pairs) == 10
    dataset.add(
        prompts=[Prompt(prompt_id=f"p{k}", text=text) for k, text in enumerate(pairs)],
        clips=[
            Clip(clip_id=f"p{k} {name}", prompt_id=f"p{k}", path=str(path), generator=name, **facts(path))
            for k, clips in enumerate(pairs.values())
            for name, path in clips.items()
        ],
    )
    return folder


def facts(path: Path) -> dict[str, Any]:
    """What a clip's row says of its file."""
    info = probe(path)
    return {"fps": info.fps, "num_frames": info.num_frames, "height": info.height, "width": info.width}
