"""What every test may use. One thread, no hub, no window: the same numbers on every machine."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

_CACHE = tempfile.TemporaryDirectory(prefix="videoalign-tests-")

for name, value in {
    "VIDEOALIGN_CACHE": _CACHE.name,
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from videoalign.contracts.video import Video  # noqa: E402
from videoalign.video.files import write_video  # noqa: E402

settings.register_profile("same_every_time", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("same_every_time")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What was read with the tests stays: looking through it for garbage, over and over, takes longer than many do."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered of files of this user is not mixed with what is remembered of those of tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that is not part of the project; the test is skipped where it is absent."""
    folder = Path(os.environ.get("VIDEOALIGN_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set VIDEOALIGN_SHARED to its folder")
    return folder


@pytest.fixture
def make_clip() -> Callable[..., Path]:
    """Writes a clip whose frame k is grey of level 20 + 4 k plus ``tint``, and returns its path."""

    def make(
        path: Path, num_frames: int = 5, height: int = 16, width: int = 16, fps: float = 8.0, tint: int = 0
    ) -> Path:
        levels = 20 + 4 * np.arange(num_frames) + tint
        frames = np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).astype(np.uint8)
        write_video(path, Video(frames, fps))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-VL of a few thousand weights, random."""
    from videoalign.contracts.records import DEFAULT_DIMENSIONS
    from videoalign.models.small_qwen import small_qwen2_vl, small_tokenizer, write_base
    from videoalign.models.videoreward.prompt import default_template

    folder = tmp_path_factory.mktemp("tiny") / "base"
    tokenizer = small_tokenizer(["a red circle moves left", default_template(DEFAULT_DIMENSIONS)] * 9, vocab_size=400)
    model = small_qwen2_vl(tokenizer, hidden_size=32, num_layers=2, num_heads=2, vision_dim=32, vision_heads=2)
    write_base(folder, model, tokenizer)
    return folder
