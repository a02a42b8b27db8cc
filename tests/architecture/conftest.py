"""The package as source text: what each module imports, where and how long it is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "videoalign"


@dataclass(frozen=True)
class Import:
    """One imported name, wherever in the module it stands."""

    target: str
    """Dotted, absolute."""
    line: int
    at_run_time: bool
    """False under ``if TYPE_CHECKING``."""

    @property
    def top(self) -> str:
        return self.target.split(".")[0]

    @property
    def is_third_party(self) -> bool:
        return self.top != "videoalign" and self.top not in sys.stdlib_module_names


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    path: Path

    @cached_property
    def name(self) -> str:
        parts = self.path.relative_to(REPOSITORY).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def unit(self) -> str:
        """Folder or file right below the package; empty for the package itself."""
        return unit_of(self.name)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def imports(self) -> list[Import]:
        return list(self._walk(self.tree, at_run_time=True))

    def _walk(self, node: ast.AST, *, at_run_time: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for target in self._targets(child):
                yield Import(target, child.lineno, at_run_time)
            guarded = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from self._walk(child, at_run_time=at_run_time and not guarded)

    def _targets(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            return [".".join(filter(None, (base, node.module, alias.name))) for alias in node.names]
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        return []

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{line}"


def unit_of(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module of the package."""
    return [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.fixture(scope="session")
def parse_module():
    """Makes a module of this name from source text, to show a rule what it must catch."""

    def make(name: str, source: str) -> Module:
        module = Module(REPOSITORY.joinpath(*name.split(".")).with_suffix(".py"))
        module.__dict__["text"] = source
        return module

    return make
