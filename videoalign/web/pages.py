"""What pages of our servers are made of: each has ``static`` and ``templates`` of its own, and all share two more."""

from __future__ import annotations

from pathlib import Path

import jinja2
from fastapi.staticfiles import StaticFiles


def environment(folder: Path) -> jinja2.Environment:
    """The templates of a server, its own before the shared ones; whatever is put into one is escaped.

    Args:
        folder: of the server, with ``templates`` in it.
    """
    # by itself Starlette would escape by the ending of a file, and .jinja is none that it knows
    places = [folder / "templates", Path(__file__).with_name("templates")]
    return jinja2.Environment(loader=jinja2.FileSystemLoader(places), autoescape=True)


def static_files(folder: Path) -> StaticFiles:
    """The scripts and styles of a server, its own before the shared ones.

    Args:
        folder: of the server, with ``static`` in it.
    """
    return StaticFiles(directory=folder / "static", packages=[("videoalign.web", "static")])
