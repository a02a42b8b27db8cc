"""``videoalign reward eval``: how well a reward agrees with judgements, in a dataset or in a benchmark's table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from videoalign.cli.common import (
    AsJson,
    Fresh,
    Load,
    Overrides,
    Seed,
    load_config,
    open_reward,
    print_json,
    print_table,
)
from videoalign.cli.places import made_folder, read_folder, read_target
from videoalign.cli.watching import progress
from videoalign.errors import ConfigError
from videoalign.evaluation.figures import COMPARISON, groups, of_generators, table

Split = Annotated[
    str | None,
    typer.Option(
        "--split", help="test, val, train or all; default: test where there is one, else val; all of a table."
    ),
]
Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="R", help="Another reward: which orders more pairs rightly?", parser=read_folder),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FOLDER", help="Write the result there, with scores to go on from.", parser=made_folder
    ),
]


def eval_(
    reward: Annotated[Path, typer.Argument(metavar="R", help="A reward folder.", parser=read_folder)],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A dataset folder, or a table with --format.", parser=read_target)
    ],
    settings: Overrides = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Of a table: rewardbench, genai-bench, videoalign, pairs, ratings.")
    ] = None,
    clips: Annotated[
        str | None, typer.Option("--clips", metavar="DIR", help="Folder of a table's clips; default: its own.")
    ] = None,
    split: Split = None,
    legacy: Annotated[bool, typer.Option("--legacy", help="Count ties as the official code does.")] = False,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what cannot be read, and count it.")
    ] = False,
    by_generators: Annotated[
        bool, typer.Option("--by-generators", help="Show a table for each two generators.")
    ] = False,
    against: Against = None,
    out: Out = None,
    load: Load = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Accuracy per dimension with and without ties, beside what no skill would reach or against another reward."""
    from videoalign.recipes.reward.agreement import Counting
    from videoalign.recipes.reward.benchmark import Target, benchmark

    if against is not None and (legacy or out is not None or by_generators):
        raise ConfigError("--against: it counts decided pairs alone; leave out --legacy, --out and --by-generators.")
    aim = Target(location=target, format=format, clips=clips, options=_options(format, settings))
    how = Counting(split=_split(split, aim.is_table), legacy=legacy, seed=seed, skip_broken=skip_broken)
    model = open_reward(reward, load)
    other = None if against is None else open_reward(against, load)
    result = benchmark(model, aim, how, against=other, out=out, fresh=fresh, progress=progress)
    figures = result["figures"]
    tables = {f"{title}: {reward} on {target}": shown for title, shown in groups().items()}
    if against is not None:
        tables = {f"{reward} (first) against {against} (second) on {target}": COMPARISON}
    if as_json:
        print_json(figures)
        return
    told = next(iter(figures.values()))
    for title, shown in tables.items():
        print_table(*table("dimension", figures.items(), shown, spaced=True), title=f"{title} ({told['split']})")
    print(told["note"])
    for name, row in figures.items() if by_generators else ():
        pairs = [(" and ".join(pair["generators"]), pair) for pair in row["by_generators"]]
        print_table(*table("generators", pairs, of_generators(), spaced=True), title=name)
    if against is None and result["left_out"]["pairs"]:
        print(f"left out: {result['left_out']['pairs']} pairs with a clip that cannot be read or scored")
    if out is not None:
        print(f"{out}: result.json and result.md")


def _options(format: str | None, settings: Sequence[str] | None) -> dict[str, Any]:
    """Settings of a table's importer."""
    from videoalign.data.formats import find_format

    if not settings:
        return {}
    if format is None:
        raise ConfigError("KEY=VALUE: settings are of a table's importer; say with --format what TARGET is.")
    return load_config(find_format(format).options, None, settings).model_dump(exclude_unset=True)


def _split(split: str | None, is_table: bool) -> str | None:
    """None for all pairs."""
    from videoalign.recipes.reward.agreement import REPORT

    if split not in (None, "test", "val", "train", "all"):
        raise ConfigError(f"--split: got '{split}'; wanted test, val, train or all.")
    return None if split == "all" else split or (None if is_table else REPORT)
