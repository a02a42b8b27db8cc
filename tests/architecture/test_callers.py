"""Public math is called by the package: a formula that only tests call trains nothing."""

from __future__ import annotations

import ast
from typing import Any

MATH = {"flow", "losses", "randomness"}


def public_names(module: Any) -> dict[str, ast.AST]:
    """Functions and methods without an underscore, by their name."""
    return {
        node.name: node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def uncalled(modules: list[Any]) -> list[str]:
    """Public functions of the math that no package code names outside of their own bodies."""
    uses: dict[str, set[int]] = {}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name | ast.Attribute):
                uses.setdefault(node.id if isinstance(node, ast.Name) else node.attr, set()).add(id(node))
    return [
        f"{module.at(node.lineno)} {name} is called by nothing in the package"
        for module in modules
        if module.unit in MATH
        for name, node in public_names(module).items()
        if not uses.get(name, set()) - {id(inner) for inner in ast.walk(node)}
    ]


def test_public_math_has_a_caller_in_the_package(modules: list[Any]) -> None:
    assert not uncalled(modules), "\n".join(uncalled(modules))


def test_the_rule_catches_what_it_is_for(parse_module: Any) -> None:
    math = parse_module("videoalign.losses.x", "def used(x):\n    return x\n\n\ndef unused(x):\n    return unused(x)\n")
    caller = parse_module("videoalign.training.x", "from videoalign.losses import x\n\nx.used(1)\n")
    assert uncalled([math, caller]) == ["videoalign/losses/x.py:5 unused is called by nothing in the package"]
