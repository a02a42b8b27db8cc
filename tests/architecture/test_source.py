"""What every source file keeps to: documented settings, no hidden randomness, plain words."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

DRAWS = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "normal", "multinomial", "bernoulli"}
"""Functions of torch that draw from the global generator when they are given none."""

NEW_STYLE = {"Generator", "default_rng", "SeedSequence", "PCG64", "BitGenerator"}
"""What numpy.random has besides its global generator."""


def config_classes(modules: list[Any]) -> list[tuple[Any, ast.ClassDef]]:
    """Every class that derives from Config, at any depth, by name."""
    classes = [(module, node) for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    known = {"Config"}
    while True:
        found = {node.name for _, node in classes if {ast.unparse(base).split(".")[-1] for base in node.bases} & known}
        if found <= known:
            return [(module, node) for module, node in classes if node.name in known - {"Config"}]
        known |= found


def undocumented_fields(node: ast.ClassDef) -> list[str]:
    missing = []
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if not (isinstance(text, str) and text.strip()) and not field.target.id.startswith("_"):
                missing.append(f"{node.name}.{field.target.id}")
    return missing


def hidden_draws(module: Any) -> list[str]:
    """Calls that take their numbers from, or seed, a generator nobody passed in.

    ``torch.manual_seed`` is fine inside ``torch.random.fork_rng``, which puts the global generator back. So are the
    first values of an ``nn.Parameter``: they are drawn like those of ``nn.Linear``, and whoever builds it forks.
    """

    def is_harmless(node: ast.AST) -> bool:
        if isinstance(node, ast.With):
            return any("fork_rng" in ast.unparse(item) for item in node.items)
        return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Parameter")

    harmless = {id(inner) for node in ast.walk(module.tree) if is_harmless(node) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or id(node) in harmless:
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        given = {keyword.arg for keyword in node.keywords}
        torch_draw = name.startswith("torch.") and last in DRAWS and "generator" not in given
        numpy_name = re.match(r"(?:np|numpy)\.random\.(\w+)", name)
        numpy_draw = numpy_name is not None and numpy_name[1] not in NEW_STYLE
        if torch_draw or numpy_draw or name.startswith("random.") or name in ("torch.manual_seed", "torch.seed"):
            found.append(f"{module.at(node.lineno)} {name}")
    return found


def test_every_setting_is_documented(modules: list[Any]) -> None:
    classes = config_classes(modules)
    assert {"Dimension", "DatasetInfo"} <= {node.name for _, node in classes}
    missing = [field for _, node in classes for field in undocumented_fields(node)]
    assert not missing, "\n".join(missing)


def test_no_draw_is_hidden(modules: list[Any]) -> None:
    found = [line for module in modules for line in hidden_draws(module)]
    assert not found, "\n".join(found)


def test_the_rules_catch_what_they_are_for(parse_module: Any) -> None:
    (node,) = ast.parse("class A(Config):\n    a: int\n    'A.'\n    b: int = 0\n").body
    assert undocumented_fields(node) == ["A.b"]
    derived = parse_module("videoalign.x", "class B(A):\n    pass\nclass A(Config):\n    pass\nclass C:\n    pass\n")
    assert [node.name for _, node in config_classes([derived])] == ["B", "A"]
    for bad in ("torch.randn(3)", "np.random.rand()", "random.random()", "torch.manual_seed(0)", "np.random.seed(0)"):
        assert hidden_draws(parse_module("videoalign.x", bad)) == [f"videoalign/x.py:1 {bad.partition('(')[0]}"]
    for good in (
        "torch.randn(3, generator=g)",
        "np.random.default_rng(0).permutation(3)",
        "rng.random()",
        "torch.Generator()",
    ):
        assert hidden_draws(parse_module("videoalign.x", good)) == []
    forked = "with torch.random.fork_rng():\n    torch.manual_seed(0)\n"
    assert hidden_draws(parse_module("videoalign.x", forked)) == []
    assert hidden_draws(parse_module("videoalign.x", "nn.Parameter(torch.randn(2, 3) / 3)")) == []


def test_code_is_ascii_and_owes_nothing(modules: list[Any]) -> None:
    debts = ("TO" + "DO", "FIX" + "ME", "X" * 3, "set_" + "trace", "breakpoint" + "(")
    problems = []
    for module in modules:
        for number, line in enumerate(module.text.splitlines(), start=1):
            if not line.isascii() or any(debt in line for debt in debts):
                problems.append(module.at(number))
    assert not problems, "\n".join(problems)


def test_no_file_knows_the_machine_it_was_written_on(repository: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=repository,
        capture_output=True,
        check=False,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git working tree, so there is no list of its files")
    places = tuple("/" + place + "/" for place in ("work", "root", "home", "tmp", "Users"))
    known = []
    for name in filter(None, listed.stdout.split("\0")):
        try:
            text = (repository / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        known += [
            f"{name}:{number}"
            for number, line in enumerate(text.splitlines(), start=1)
            for place in places
            if place in line and not line.rstrip().endswith("# an example path")
        ]
    assert not known, "\n".join(known)
