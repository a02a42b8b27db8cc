"""``videoalign reward``: train a reward or import one, say how good it is, score clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    print_note,
    print_table,
)
from videoalign.cli.engine import Address, EngineName, MaxRejected, RaySettings, engine_of
from videoalign.cli.places import grown_dataset, local_path, made_folder, read_dataset, read_folder, read_model
from videoalign.cli.reward_eval import eval_
from videoalign.cli.reward_probe import probe
from videoalign.cli.reward_serve import serve
from videoalign.cli.watching import progress
from videoalign.errors import ConfigError, VideoError
from videoalign.video.addresses import path_of

Reward = Annotated[Path, typer.Argument(metavar="R", help="A reward folder.", parser=read_folder)]


def register(app: typer.Typer) -> None:
    """Adds the group to the command line."""
    group = typer.Typer(help="Rewards: train, import, evaluate and score.")
    group.command("train")(train)
    group.command("import-official")(import_official)
    group.command("eval")(eval_)
    group.command("score")(score)
    group.command("probe")(probe)
    group.command("serve")(serve)
    app.add_typer(group, name="reward")


def train(
    dataset: Annotated[Path, typer.Argument(metavar="D", help="A dataset with judgements.", parser=read_dataset)],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="BASE", help="'sprites', a Qwen-VL or reward folder, or a hub id.", parser=read_model
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="R", help="Reward folder to make.", parser=made_folder)],
    settings: Overrides = None,
    config: ConfigFile = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward on judged pairs; a run that stopped goes on where it was."""
    from videoalign.data.dataset import Dataset
    from videoalign.recipes.reward.train import RewardTrainConfig, train_reward

    options = load_config(RewardTrainConfig, config, settings)
    result = train_reward(
        Dataset.open(dataset), model, out, options, fresh=fresh, progress=progress, on_note=print_note
    )
    last = result.history[-1]
    if as_json:
        chosen_on = "val" if options.keep == "best" else None
        print_json({"reward": str(out), "pairs": result.num_pairs, "last": last, "chosen_on": chosen_on})
        return
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in last.items() if name not in ("step", "seconds"))
    print(f"{out}: {result.num_pairs} pairs, {int(last['step'])} steps; {numbers}")
    if options.keep == "best":
        print("the weights were chosen on the pairs of val, so figures on val are not held out")


def import_official(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder of an official VideoReward.", parser=read_folder)
    ],
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="BASE", help="The Qwen2-VL it was trained from: folder or id.", parser=read_model
        ),
    ],
    template: Annotated[
        Path,
        typer.Option(
            "--template",
            metavar="FILE",
            help="prompt_template.py of the official code, or its rubric.",
            parser=local_path,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="R", help="Reward folder to make.", parser=made_folder)],
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint of the official code, the released one included, into a reward folder."""
    from videoalign.recipes.reward.import_official import import_official_reward

    reward = import_official_reward(checkpoint, base, template, out, fresh=fresh)
    if as_json:
        print_json({"reward": str(out), "dimensions": list(reward.dimensions)})
        return
    print(f"{out}: a reward on {', '.join(reward.dimensions)}; score clips with 'videoalign reward score {out}'.")


def score(
    reward: Reward,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", metavar="D", help="Score all clips of a dataset.", parser=grown_dataset)
    ] = None,
    video: Annotated[list[str] | None, typer.Option("--video", metavar="FILE", help="A clip; repeat for more.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="The clip's prompt; one, or one per --video.")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="FILE", help="CSV, JSONL or Parquet with columns video, prompt.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of a dataset's scores; default: the reward's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Write the scores there.", parser=local_path)
    ] = None,
    load: Load = None,
    max_rejected: MaxRejected = 0.0,
    engine: EngineName = "local",
    address: Address = None,
    ray: RaySettings = None,
    as_json: AsJson = False,
) -> None:
    """Score the clips of a dataset, stored there, or files; exits 2 when one of them cannot be scored.

    With --dataset or --out a run that stopped goes on where it was.
    """
    from videoalign.data.dataset import Dataset
    from videoalign.recipes.score import read_clip_table, score_dataset_rows, score_files

    if sum((dataset is not None, bool(video), table is not None)) != 1:
        raise ConfigError("reward score: give one of --dataset D, --table FILE, or --video FILE with --prompt TEXT.")
    if out is not None and out.suffix != ".parquet":
        raise ConfigError(f"--out: got {out}, wanted a name that ends in .parquet; rename it.")
    clips = read_clip_table(table) if table is not None else _named_clips(video or [], prompt or [])
    if max_rejected and dataset is None:
        raise ConfigError("--max-rejected: is for --dataset; of files, each that cannot be scored is told.")
    how: dict[str, Any] = {"engine": engine_of(engine, address, ray), "progress": progress}
    model = open_reward(reward, load)
    if dataset is not None:
        how |= {"name": name, "max_rejected": max_rejected}
        rows = score_dataset_rows(model, Dataset.open(dataset), out=out, **how)
    else:
        rows = score_files(model, clips, out=out, **how)
    if as_json:
        print_json(list(rows))
    elif out is None:
        shown = [
            [path_of(row["video"]).name, *(row["scores"] or dict.fromkeys(model.dimensions, "-")).values()]
            for row in rows
        ]
        print_table(["video", *model.dimensions], shown)
    if broken := rows.errors:
        raise VideoError(f"{len(broken)} of {len(rows)} clips could not be scored; the first: {broken[0]}")


def _named_clips(videos: list[str], prompts: list[str]) -> list[tuple[str | Path, str]]:
    if videos and not prompts:
        raise ConfigError("--prompt: missing; give the text that the clip was made from.")
    if len(prompts) == 1:
        prompts = prompts * len(videos)
    if len(videos) != len(prompts):
        raise ConfigError(f"--prompt: got {len(prompts)} for {len(videos)} videos; give one, or one per --video.")
    return list(zip(videos, prompts, strict=True))
