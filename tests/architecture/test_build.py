"""What is installed and what is shipped."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAX_SHIPPED_BYTES = 16 * 2**20
"""Most that the files beside the code may weigh together."""


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pinned(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "every line must be name==version"
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_core_and_dev_dependency_is_pinned_inside_its_range(project: dict, pinned: dict[str, str]) -> None:
    extras = project["project"]["optional-dependencies"]
    ours = {f"videoalign[{name}]" for name in ("http", "web")}
    assert ours <= set(extras["dev"])
    named = [one for name in ("dev", "http", "web", "cluster") for one in extras[name]]
    wanted = {*project["project"]["dependencies"], *named} - ours
    for text in wanted:
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version, prereleases=True), f"{text} does not allow {version}"


def test_torch_is_pinned_to_a_build_that_every_index_has(pinned: dict[str, str]) -> None:
    assert "+" not in pinned["torch"], "a local build such as +cpu cannot be found elsewhere"
    assert not {"torchvision", "torchaudio", "triton"} & set(pinned)
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-"))]


def test_every_file_beside_the_code_is_shipped(project: dict, repository: Path) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["videoalign"]
    package = repository / "videoalign"
    left_out = []
    for file in package.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            name = file.relative_to(package).as_posix()
            if not any(fnmatch.fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns):
                left_out.append(name)
    assert left_out == []


def test_what_is_shipped_is_small_and_tracked(repository: Path) -> None:
    package = repository / "videoalign"
    files = [file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")]
    assert sum(file.stat().st_size for file in files) <= MAX_SHIPPED_BYTES
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, files)], cwd=repository, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""


def test_continuous_integration_runs_make_test(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8").splitlines()
