"""Public math is called by the package, for a formula that only tests call trains nothing; and each has one home."""

from __future__ import annotations

import ast
import re
from typing import Any

MATH = {"flow", "losses", "randomness", "stats", "ties"}

HOMES = {
    r"\bexpit\b|\blog_?expit\b": {"videoalign.stats.calibration"},
    r"\blogsigmoid\b": {"videoalign.losses.preference", "videoalign.losses.flow_dpo"},
    r"\btheta \+ 1\b|\btheta\*\*2 - 1\b|\btheta \* theta - 1\b": {"videoalign.ties"},
    r"\bd / 2\b|\bnu \+ 2\b": {"videoalign.ties"},
    r"\blog_softmax\b|(?<!log_)\bsoftmax\b": {"videoalign.losses.preference", "videoalign.stats.ranking"},
    r"\(stratum \+ \w+\) /|\bshift - 1\b": {"videoalign.flow.times"},
    r"\bndtri\b": {"videoalign.flow.times", "videoalign.stats.shares"},
    r"\bnanquantile\b|\bnp\.(quantile|percentile)\b": {"videoalign.stats.resampling"},
    r"\bstdtrit\b|\bnorm\.ppf\b": {"videoalign.stats.shares"},
    r"<= threshold\b|\blabels\b.*\bdiff\b.* > 0": {"videoalign.stats.pairwise"},
}
"""What a formula cannot be written without -> the modules that may: laws of ties, times and their strata, intervals of
resamples and of shares, what is predicted to be a tie."""


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


def second_homes(modules: list[Any]) -> list[str]:
    """Lines of code, not of documentation, with a formula that has its home elsewhere."""
    found = []
    for module in modules:
        texts = [
            node
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]
        prose = {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        for number, line in enumerate(module.text.splitlines(), start=1):
            if number not in prose:
                found += [
                    f"{module.at(number)} belongs into {' or '.join(sorted(homes))}"
                    for formula, homes in HOMES.items()
                    if re.search(formula, line) and module.name not in homes
                ]
    return found


def test_public_math_has_a_caller_in_the_package(modules: list[Any]) -> None:
    assert not uncalled(modules), "\n".join(uncalled(modules))


def test_a_formula_has_one_home(modules: list[Any]) -> None:
    assert not second_homes(modules), "\n".join(second_homes(modules))


def test_a_second_home_is_found(parse_module: Any) -> None:
    (line,) = second_homes([parse_module("videoalign.stats.x", '"""theta + 1"""\n\nx = log(theta + 1)\n')])
    assert line == "videoalign/stats/x.py:3 belongs into videoalign.ties"
    assert not second_homes([parse_module("videoalign.ties", "x = log(theta + 1)\n")])


def test_the_rule_catches_what_it_is_for(parse_module: Any) -> None:
    math = parse_module("videoalign.losses.x", "def used(x):\n    return x\n\n\ndef unused(x):\n    return unused(x)\n")
    caller = parse_module("videoalign.training.x", "from videoalign.losses import x\n\nx.used(1)\n")
    assert uncalled([math, caller]) == ["videoalign/losses/x.py:5 unused is called by nothing in the package"]
