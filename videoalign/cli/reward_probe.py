"""``videoalign reward probe``: do the scores move as they must when clips are changed in known ways?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Fresh,
    Load,
    Overrides,
    load_config,
    open_reward,
    print_json,
    print_table,
)
from videoalign.cli.places import made_folder, read_dataset, read_model
from videoalign.cli.watching import progress
from videoalign.errors import ModelError


def probe(
    reward: Annotated[
        str,
        typer.Argument(metavar="R|oracle", help="A reward folder, or the sprite world's oracle.", parser=read_model),
    ],
    dataset: Annotated[
        Path, typer.Argument(metavar="D", help="A dataset folder; it needs no judgements.", parser=read_dataset)
    ],
    settings: Overrides = None,
    config: ConfigFile = None,
    split: Annotated[
        str | None, typer.Option("--split", help="test, val, train or all; default: test where there is one, else val.")
    ] = None,
    max_clips: Annotated[int | None, typer.Option("--max-clips", help="Most clips, spread over the prompts.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Decides every random draw.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Write probes.json, probes.md and probes.png there.", parser=made_folder
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 2 when a probe goes wrong.")] = False,
    load: Load = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Change clips in ways whose effect is known, and see whether the scores follow."""
    from videoalign.data.dataset import Dataset
    from videoalign.evaluation.probe_report import COLUMNS, refusals, require_free, table_rows, write_probe_report
    from videoalign.evaluation.probes import wrong_ones
    from videoalign.recipes.reward.probe import ProbeConfig, probe_reward

    options = load_config(ProbeConfig, config, settings, split=split, max_clips=max_clips, seed=seed)
    data = Dataset.open(dataset)
    if out is not None:
        require_free(out, fresh=fresh)
    result = probe_reward(open_reward(reward, load), data, options, progress=progress)
    if out is not None:
        write_probe_report(out, result, fresh=fresh)
    if as_json:
        print_json(result)
    else:
        where = f"{reward} on {dataset} ({result['settings']['split']})"
        asked = f"{where}: {result['clips']} clips of {result['prompts']} prompts"
        print_table(COLUMNS, table_rows(result), title=f"{asked}; changes in deviations")
        for line in refusals(result):
            print(line)
    wrong = wrong_ones(result)
    if strict and wrong:
        named = ", ".join(f"{name} on {dimension}" for name, dimension in wrong)
        raise ModelError(f"reward '{result['reward']}': {len(wrong)} probes go wrong: {named}; --strict takes none.")
