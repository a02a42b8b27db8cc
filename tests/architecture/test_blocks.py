"""No two places of the package share a block of ten lines or more: what stands twice becomes a function."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Any

BLOCK = 10
"""Lines in a row that must not stand twice. Blank ones, comments, docstrings, imports and lone brackets do not count,
nor do lists of parameters: commands share options, and a class has the methods of its protocol."""

LONE = set("()[]{},:")


def code_lines(module: Any) -> list[tuple[int, str]]:
    """Number and stripped text of each line that says something."""
    silent: set[int] = set()
    for node in ast.walk(module.tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            silent |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            silent |= set(range(node.lineno, node.body[0].lineno))
    lines = ((number, line.strip()) for number, line in enumerate(module.text.splitlines(), start=1))
    return [
        (number, text)
        for number, text in lines
        if number not in silent and not text.startswith("#") and not set(text) <= LONE
    ]


def shared_blocks(modules: list[Any]) -> list[str]:
    """Where a block begins that stands elsewhere as well, with that other place; the first lines of each alone."""
    seen: dict[tuple[str, ...], list[tuple[Any, int, int]]] = defaultdict(list)
    for module in modules:
        lines = code_lines(module)
        for index in range(len(lines) - BLOCK + 1):
            seen[tuple(text for _, text in lines[index : index + BLOCK])].append((module, lines[index][0], index))
    problems, goes_on = [], set()
    for (first, line, index), (second, other, other_index) in sorted(
        ((places[0], place) for places in seen.values() for place in places[1:]),
        key=lambda pair: (pair[0][0].name, pair[0][2], pair[1][0].name, pair[1][2]),
    ):
        if (first.name, index - 1, second.name, other_index - 1) not in goes_on:
            problems.append(f"{first.at(line)} and {second.at(other)} share a block")
        goes_on.add((first.name, index, second.name, other_index))
    return problems


def test_no_block_stands_twice(modules: list[Any]) -> None:
    assert not shared_blocks(modules), "\n".join(shared_blocks(modules))


def test_a_block_is_found_once_whatever_its_indent_and_length(parse_module: Any) -> None:
    body = [f"x = f({number})" for number in range(12)]
    first = parse_module("videoalign.a", "import os\n" + "\n".join(body) + "\n")
    inner = "\n".join(f"    {line}\n    # a comment" for line in body)
    second = parse_module("videoalign.b", f'def g():\n    """Text."""\n{inner}\n')
    assert shared_blocks([first, second]) == ["videoalign/a.py:2 and videoalign/b.py:3 share a block"]
    shorter = parse_module("videoalign.c", "\n".join(body[:9]) + "\n")
    assert shared_blocks([first, shorter]) == []
