"""``videoalign data``: judgements and ratings come in, are looked at, are split, and go out again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Fresh,
    GrownDataset,
    Overrides,
    ReadDataset,
    Seed,
    load_config,
    parse_names,
    print_json,
    print_note,
    print_table,
    tell_strangers,
)
from videoalign.cli.engine import Address, EngineName, RaySettings, engine_of
from videoalign.cli.places import local_path, made_folder, read_folder
from videoalign.cli.watching import progress
from videoalign.contracts.records import Aggregation

NewIds = Annotated[
    bool, typer.Option("--new-ids", help="Where an id stands for something else, what is added gets one of its own.")
]


def register(app: typer.Typer) -> None:
    """Adds the group to the command line."""
    group = typer.Typer(help="Datasets: import, merge, export, check, describe, count and split.")
    group.command("import")(import_)
    group.command("merge")(merge)
    group.command("export")(export)
    group.command("formats")(formats)
    group.command("check")(check)
    group.command("card")(card)
    group.command("stats")(stats)
    group.command("split")(split)
    app.add_typer(group, name="data")


def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="As 'videoalign data formats' lists them.")],
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="CSV, JSONL, JSON or Parquet table, or the folder of one.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="D", help="Dataset folder to make, or with --add to add to.", parser=made_folder),
    ],
    settings: Overrides = None,
    clips: Annotated[
        str | None, typer.Option("--clips", metavar="DIR", help="Folder of the clips; default: the table's own.")
    ] = None,
    dimensions: Annotated[
        str | None, typer.Option("--dimensions", help="Columns that are judged, as in VQ,MQ,TA.")
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave bad rows out and list them.")] = False,
    config: ConfigFile = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add to the dataset that is there, also while it is judged.")
    ] = False,
    new_ids: NewIds = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset folder from somebody's clips, judgements or ratings, or add them to one."""
    from videoalign.data.formats import find_format, import_data
    from videoalign.data.formats.adding import add_data
    from videoalign.errors import ConfigError

    flags = {"dimensions": parse_names(dimensions), "skip_broken": skip_broken or None}
    options = load_config(find_format(format).options, config, settings, **flags)
    if add and fresh:
        raise ConfigError("--fresh: replaces the dataset that --add adds to; give one of the two.")
    if new_ids and not add:
        raise ConfigError("--new-ids: no id of a new dataset is taken; give it with --add.")
    if add:
        grown = add_data(
            format, source, out, clips, options=options, new_ids=new_ids, progress=progress, on_note=print_note
        )
        _show_counts({**grown.as_dict(), "not_read": grown.not_read}, as_json)
        return
    report = import_data(
        format, source, out, clips=clips, options=options, fresh=fresh, progress=progress, on_note=print_note
    )
    _show_counts({**report.as_dict(), "not_read": report.not_read}, as_json)


def merge(
    others: Annotated[
        list[Path], typer.Argument(metavar="OTHER", help="Datasets to add; any number.", parser=read_folder)
    ],
    into: Annotated[
        Path,
        typer.Option("--into", metavar="D", help="Dataset folder to add to; it may be judged now.", parser=made_folder),
    ],
    new_ids: NewIds = False,
    as_json: AsJson = False,
) -> None:
    """Add the prompts, clips, judgements and ratings of other datasets to one."""
    from dataclasses import asdict

    from videoalign.data.counts import count
    from videoalign.data.dataset import Dataset
    from videoalign.data.merging import merge_dataset

    grown, opened = Dataset.open(into), [Dataset.open(other) for other in others]
    for other in opened:
        tell_strangers(other.path)
    added = [asdict(merge_dataset(grown, other, new_ids=new_ids)) for other in opened]
    totals = {name: sum(one[name] for one in added) for name in added[0]}
    _show_counts({**count(grown).as_dict(), "added": totals}, as_json)


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="As 'videoalign data formats' lists them.")],
    dataset: ReadDataset,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Table to write; its ending says the layout.", parser=local_path),
    ],
    aggregate: Annotated[
        Aggregation | None,
        typer.Option("--aggregate", help="How a label comes from what was said; default: adjudicated."),
    ] = None,
) -> None:
    """Write judgements in the layout that other tools read."""
    from videoalign.data.dataset import Dataset
    from videoalign.data.formats import export_data

    rows = export_data(format, Dataset.open(dataset), out, aggregate)
    tell_strangers(dataset)
    print(f"{out}: {rows} rows")


def formats(as_json: AsJson = False) -> None:
    """List what 'data import' and 'data export' read and write, each in one line."""
    from videoalign.data.formats import describe_formats

    found = describe_formats()
    if as_json:
        print_json({kind: {one.name: one.what for one in rows} for kind, rows in found._asdict().items()})
        return
    print_table(["FORMAT", "what 'data import' reads"], found.importers)
    print_table(["FORMAT", "what 'data export' writes"], found.exporters)


def check(
    dataset: ReadDataset,
    benchmark_prompts: Annotated[
        list[str] | None,
        typer.Option("--benchmark-prompts", metavar="FILE", help="Prompts that must not be in the dataset; repeat."),
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    ray: RaySettings = None,
    as_json: AsJson = False,
) -> None:
    """Look for damaged or unplayable clips, duplicates, contradictions and leaks; exit code 2 if there are any."""
    from videoalign.data.check import check_dataset, raise_if_any
    from videoalign.data.dataset import Dataset

    runs_on = engine_of(engine, address, ray)
    problems = check_dataset(Dataset.open(dataset), progress, benchmark_prompts or (), engine=runs_on)
    if as_json:
        print_json([problem.as_dict() for problem in problems])
    elif problems:
        rows = [list(problem.as_dict().values()) for problem in problems]
        print_table(["kind", "where", "what", "what to do"], rows)
    raise_if_any(problems, dataset)
    if not as_json:
        print(f"{dataset}: no problem found")


def card(
    dataset: GrownDataset,
    licence: Annotated[
        str | None, typer.Option("--license", help="As the hub names it, as in cc-by-4.0; default: left to you.")
    ] = None,
) -> None:
    """Write README.md, with which the folder is a dataset of the Hugging Face hub, and name what of it to publish."""
    from videoalign.data.card import addresses_among_raters, published, write_card
    from videoalign.data.dataset import Dataset

    data = Dataset.open(dataset)
    print(write_card(data, licence))
    patterns = " ".join(map(shlex.quote, published(data)))
    print(f"publish it with: hf upload NAME {shlex.quote(str(dataset))} . --repo-type dataset --include {patterns}")
    if number := addresses_among_raters(data):
        print(f"raters named by an e-mail address: {number}; rename them in the source and import it again first")


def stats(dataset: ReadDataset, as_json: AsJson = False) -> None:
    """Count prompts, clips, pairs and labels."""
    from videoalign.data.counts import count
    from videoalign.data.dataset import Dataset

    _show_counts(count(Dataset.open(dataset)).as_dict(), as_json)


def split(
    dataset: GrownDataset,
    val: Annotated[
        float, typer.Option("--val", help="Share of the prompts that trainings choose and normalise on, above 0.")
    ] = 0.1,
    test: Annotated[
        float, typer.Option("--test", help="Share that 'reward eval' reports on and nothing else looks at.")
    ] = 0.0,
    seed: Seed = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Deal all prompts anew, also those that were dealt before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold out shares of the prompts, with everything that belongs to them; those dealt before stay where they are."""
    from videoalign.data.dataset import Dataset
    from videoalign.data.split import split_by_prompt

    sizes = split_by_prompt(Dataset.open(dataset), val, test=test, seed=seed, fresh=fresh, on_note=print_note)
    if as_json:
        print_json(sizes)
    else:
        print_table(["split", "prompts"], list(sizes.items()))


def _show_counts(counts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    print_table(
        ["what", "number"], [[name, counts[name]] for name in ("prompts", "clips", "pairs", "judgements", "ratings")]
    )
    if "added" in counts:
        print_table(["added", "number"], [[name, number] for name, number in counts["added"].items()])
    labels: dict[str, dict[str, int]] = counts["labels"]
    if labels:
        names = list(next(iter(labels.values())))
        print_table(["dimension", *names], [[dim, *numbers.values()] for dim, numbers in labels.items()])
    if counts.get("not_read"):
        print("not read: " + ", ".join(f"{name} ('{text}')" for name, text in counts["not_read"].items()))
    if counts["rejected"]:
        print_table(["row", "left out because"], [[r["row"], r["reason"]] for r in counts["rejected"]])
