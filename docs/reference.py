"""Writes the reference pages from the code: every command, setting and figure, in the words that the code has for them.

Run by ``make docs``. With ``--check`` it writes nothing and fails when a page is out of step with the code.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

import videoalign
from videoalign.cli.main import build_app
from videoalign.config import Config
from videoalign.evaluation.figures import COMPARISON, REWARD, Figure

PAGES = Path(__file__).parent / "reference"


def cli_page() -> str:
    """All commands with their arguments and options."""
    parts = [
        "# Commands",
        "Made by `make docs` from the command line itself. Every command exits 0 when all went well, and 2 with one "
        "line on stderr when it was given something that it cannot use.",
    ]
    for path, command in commands(typer.main.get_command(build_app())):
        if getattr(command, "commands", None):
            continue
        parts += [f"## `videoalign {' '.join(path)}`", plain(command.help)]
        rows = [row for parameter in command.params if (row := parameter_row(parameter))]
        if rows:
            parts.append("\n".join(["| argument or option | what it is | default |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def commands(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The command and all below it, each with its words."""
    yield above, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*above, name))


def parameter_row(parameter: Any) -> str | None:
    """One line of the table; None for ``--help``."""
    if parameter.name == "help":
        return None
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else (parameter.metavar or str(parameter.name).upper())
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default in (None, False, ()) or callable(default):
        shown = ""
    else:
        shown = f"`{getattr(default, 'value', default)}`"
    return f"| `{name}` | {cell(plain(getattr(parameter, 'help', None)))} | {shown} |"


def settings_page() -> str:
    """All settings classes with their fields."""
    parts = [
        "# Settings",
        "Made by `make docs` from the code. Commands take them from a YAML file (`--config FILE.yaml`) and as "
        "`key=value`; inner groups are written with dots, as in `optimizer.learning_rate=1e-4`.",
    ]
    for cls in settings_classes():
        rows = [setting_row(name, field) for name, field in cls.model_fields.items()]
        parts += [f"## `{cls.__name__}`", f"`{cls.__module__}`. {plain(inspect.getdoc(cls))}"]
        parts.append("\n".join(["| setting | type | default | meaning |", "| --- | --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def settings_classes() -> list[type[Config]]:
    """Every class of settings in the package, by module and name."""
    for module in pkgutil.walk_packages(videoalign.__path__, "videoalign."):
        if not any(part in module.name for part in ("__main__", ".ray_", ".migrations")):
            importlib.import_module(module.name)
    found: set[type[Config]] = set()
    queue = [Config]
    while queue:
        for cls in queue.pop().__subclasses__():
            if cls not in found:
                found.add(cls)
                queue.append(cls)
    ours = [cls for cls in found if cls.__module__.startswith("videoalign.") and cls.model_fields]
    return sorted(ours, key=lambda cls: (cls.__module__, cls.__name__))


def setting_row(name: str, field: Any) -> str:
    """One line of the table."""
    kind, meaning = cell(type_name(field.annotation)), cell(plain(field.description))
    return f"| `{name}` | `{kind}` | {default_of(field)} | {meaning} |"


def type_name(annotation: Any) -> str:
    """A type as one would write it, without what pydantic is told besides."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = reduce(or_, (get_args(a)[0] if get_origin(a) is Annotated else a for a in get_args(annotation)))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def default_of(field: Any) -> str:
    """The default as one would write it on the command line."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Config):
        return "see its own table"
    if isinstance(default, tuple) and any(isinstance(one, Config) for one in default):
        return ", ".join(f"`{one.name}`" for one in default)
    return f"`{cell(str(default))}`" if default not in ("", None) else ""


def results_page() -> str:
    """The page of results, with its tables of figures made anew between their marks."""
    text = (PAGES / "results.md").read_text(encoding="utf-8")
    for name, figures in (("REWARD", REWARD), ("COMPARISON", COMPARISON)):
        begin, end = f"<!-- {name}: made by make docs -->\n", f"<!-- end of {name} -->\n"
        head, rest = text.split(begin)
        text = head + begin + figures_table(figures) + end + rest.split(end)[1]
    return text


def figures_table(figures: tuple[Figure, ...]) -> str:
    """A line a figure, with the keys of its interval."""
    lines = [f"| {', '.join(f'`{key}`' for key in one.keys)} | {cell(one.meaning)} |" for one in figures]
    return "\n".join(["| key | what it holds |", "| --- | --- |", *lines, ""])


def plain(text: str | None) -> str:
    """On one line, in single backticks."""
    return " ".join((text or "").replace("``", "`").split())


def cell(text: str) -> str:
    """Safe inside a table."""
    return text.replace("|", "\\|")


def made() -> dict[str, str]:
    """The pages by their names."""
    return {"commands.md": cli_page(), "settings.md": settings_page(), "results.md": results_page()}


def main() -> int:
    """Writes or checks the pages."""
    stale = []
    for name, page in made().items():
        file = PAGES / name
        if file.is_file() and file.read_text(encoding="utf-8") == page:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            PAGES.mkdir(exist_ok=True)
            file.write_text(page, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    if stale and "--check" in sys.argv:
        print(f"out of step with the code: {', '.join(stale)}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
