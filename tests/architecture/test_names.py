"""One name for one thing: within a folder no two public functions share one, unless one calls the other."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Any

REGISTERED = {"get", "post", "put", "patch", "delete", "route", "command"}
"""Decorators of pages and commands: a framework calls these functions by what they answer to, and nobody by name."""

MIGRATIONS = "videoalign.web.annotate.storage.migrations."
"""Alembic calls ``upgrade`` of each."""


def is_registered(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    return any(isinstance(one, ast.Attribute) and one.attr in REGISTERED for one in called)


def public_functions(modules: list[Any]) -> dict[str, list[tuple[Any, ast.FunctionDef | ast.AsyncFunctionDef]]]:
    """Functions at the top of modules by name, without an underscore; those of ``cli`` are named after commands."""
    found: dict[str, list[tuple[Any, ast.FunctionDef | ast.AsyncFunctionDef]]] = defaultdict(list)
    for module in modules:
        for node in module.tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if module.unit != "cli" and not is_registered(node) and not module.name.startswith(MIGRATIONS):
                found[node.name].append((module, node))
    return found


def calls(node: ast.AST, module: Any, name: str, other: Any) -> bool:
    """Whether a function calls the one of this name in another module, by the other's name or as it was imported."""
    imported = {one.target for one in module.imports}
    if not {other.name, f"{other.name}.{name}"} & imported:
        return False
    called = {inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    return any((isinstance(f, ast.Attribute) and f.attr == name) or isinstance(f, ast.Name) for f in called)


def shared_names(modules: list[Any]) -> list[str]:
    """Two public functions of one name in one folder tree, none of which calls the other."""
    problems = []
    for name, homes in public_functions(modules).items():
        for index, (module, node) in enumerate(homes):
            for other, other_node in homes[:index]:
                if (
                    module.unit != other.unit
                    or calls(node, module, name, other)
                    or calls(other_node, other, name, module)
                ):
                    continue
                problems.append(f"{other.at(other_node.lineno)} and {module.at(node.lineno)} are both called {name}")
    return problems


def test_no_two_public_functions_of_a_folder_share_a_name(modules: list[Any]) -> None:
    assert not shared_names(modules), "\n".join(shared_names(modules))


def test_the_rule_catches_what_it_is_for(parse_module: Any) -> None:
    first = parse_module("videoalign.data.a", "def load():\n    pass\n")
    second = parse_module("videoalign.data.deep.b", "\ndef load():\n    pass\n")
    above = parse_module("videoalign.data.c", "from videoalign.data import a\n\ndef load():\n    return a.load()\n")
    elsewhere = parse_module("videoalign.web.d", "def load():\n    pass\n")
    both = "videoalign/data/a.py:1 and videoalign/data/deep/b.py:2 are both called load"
    assert shared_names([first, second, elsewhere]) == [both]
    assert shared_names([first, above, elsewhere]) == []
    page = parse_module("videoalign.data.e", "@pages.get('/')\ndef load():\n    pass\n")
    assert shared_names([first, page]) == []
