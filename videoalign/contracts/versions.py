"""Versions of what decides a run's numbers."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("videoalign", "torch", "diffusers", "transformers", "peft", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide its numbers."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
