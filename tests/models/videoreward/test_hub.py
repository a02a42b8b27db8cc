from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from videoalign.contracts.video import Video
from videoalign.errors import ModelError, OutputError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.hub import model_card

SHA = "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a push and a pull need; one repository."""

    files: dict[str, bytes] = {}
    asked: list[tuple[str, str]] = []

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _answer(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": SHA, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), Content_Type="application/json")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self.asked.append((path, self.headers.get("Authorization", "")))
        if path == "/api/repos/create":
            self._json({"url": f"http://{self.headers['Host']}/me/reward", "id": "me/reward"})
        elif path == "/api/models/me/reward/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            self._json({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif path == "/api/models/me/reward/commit/main":
            lines = [json.loads(line)["value"] for line in body.splitlines() if json.loads(line)["key"] == "file"]
            self.files.update({line["path"]: base64.b64decode(line["content"]) for line in lines})
            self._json({"commitUrl": f"http://{self.headers['Host']}/me/reward/commit/{SHA}", "commitOid": SHA})
        else:
            self._json({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/me/reward/resolve/{SHA}/")
        if path.startswith("/api/models/me/reward/revision/") or path == "/api/models/me/reward":
            self._json({"id": "me/reward", "sha": SHA, "siblings": [{"rfilename": name} for name in self.files]})
        elif path.startswith("/api/models/me/reward/tree/"):
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in self.files.items()
                ]
            )
        elif name in self.files:
            data = self.files[name]
            self._answer(data, ETag=f'"{hashlib.sha1(data).hexdigest()}"')
        else:
            self._answer(status=404)

    def do_HEAD(self) -> None:
        self.do_GET()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where snapshots are kept during the test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that holds nothing, and no other."""
    Hub.files, Hub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    server.shutdown()
    server.server_close()


def test_a_pushed_reward_is_pulled_and_scores_the_same(
    reward: VideoReward, clips: list[Video], hub: None, cache: Path
) -> None:
    assert reward.push_to_hub("me/reward", private=True, token="hf_secret").endswith("/me/reward")
    assert set(Hub.files) - {".gitattributes"} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "reward.json",
        "reward.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert ("/api/repos/create", "Bearer hf_secret") in Hub.asked
    pulled = VideoReward.from_pretrained("me/reward", revision="main")
    assert pulled.name == "reward"
    assert pulled.settings == reward.settings
    theirs, ours = (model.score_raw(clips, ["a red circle"] * 3) for model in (pulled, reward))
    assert np.abs(theirs - ours).max() < 1e-6
    assert (cache / "models--me--reward" / "snapshots" / SHA / "reward.json").is_file()


def test_a_snapshot_in_the_cache_is_read_offline(reward: VideoReward, cache: Path) -> None:
    place = cache / "models--me--kept"
    reward.save_pretrained(place / "snapshots" / SHA)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(SHA)
    assert VideoReward.from_pretrained("me/kept").settings == reward.settings


def test_what_is_neither_a_folder_nor_on_the_hub_is_told_in_one_line(
    reward: VideoReward, cache: Path, tmp_path: Path
) -> None:
    for name in ("me/absent", "no/such/folder"):
        with pytest.raises(
            ModelError, match=f"{name}: no reward here: no such folder, and nothing from the hub"
        ) as told:
            VideoReward.from_pretrained(name)
        assert "\n" not in str(told.value)
    with pytest.raises(ModelError, match="revision=main is for hub ids"):
        VideoReward.from_pretrained(tmp_path, revision="main")
    with pytest.raises(OutputError, match="me/reward: cannot be put on the hub"):
        reward.push_to_hub("me/reward")


def test_the_card_tells_dimensions_limits_normalisation_and_origin(reward: VideoReward) -> None:
    reward.set_normalisation(np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 6.0]]))
    card = model_card("me/reward", reward.family.title, reward.settings)
    for part in (
        "A video reward on a Qwen2-VL",
        'VideoReward.from_pretrained("me/reward")',
        "| no | 2.0000 | 1.0000 |",  # MQ
        "| yes | 4.0000 | 2.0000 |",  # TA
        "4 frames per second, 4 to 768 frames, each resized to between 1024 and 1024 pixels",
        "- base: base",
    ):
        assert part in card
