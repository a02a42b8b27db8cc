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
    found = []
    for module in modules:
        for name, node in public_names(module).items() if module.unit in MATH else ():
            inside = {id(inner) for inner in ast.walk(node)}
            uses = [
                inner
                for other in modules
                for inner in ast.walk(other.tree)
                if id(inner) not in inside
                and (isinstance(inner, ast.Name) and inner.id == name)
                | (isinstance(inner, ast.Attribute) and inner.attr == name)
            ]
            if not uses:
                found.append(f"{module.at(node.lineno)} {name} is called by nothing in the package")
    return found


def test_public_math_has_a_caller_in_the_package(modules: list[Any]) -> None:
    assert not uncalled(modules), "\n".join(uncalled(modules))


def test_the_rule_catches_what_it_is_for(parse_module: Any) -> None:
    math = parse_module("videoalign.losses.x", "def used(x):\n    return x\n\n\ndef unused(x):\n    return unused(x)\n")
    caller = parse_module("videoalign.training.x", "from videoalign.losses import x\n\nx.used(1)\n")
    assert uncalled([math, caller]) == ["videoalign/losses/x.py:5 unused is called by nothing in the package"]
