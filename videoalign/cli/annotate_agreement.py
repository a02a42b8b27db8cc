"""``videoalign annotate agreement`` and ``leaderboard``: what raters agree on, and which model they prefer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from videoalign.cli.common import AsJson, Folder, Seed, print_json, print_table, tell_strangers
from videoalign.contracts.records import Aggregation

if TYPE_CHECKING:
    from videoalign.data.judgements.agreement import DimensionAgreement, RatingAgreement
    from videoalign.data.judgements.leaderboard import Leaderboard
    from videoalign.data.judgements.rater_quality import RaterQuality
    from videoalign.stats.resampling import Estimate


def agreement(
    dataset: Folder,
    cluster: Annotated[
        Literal["prompt", "pair"], typer.Option("--cluster", help="What intervals are drawn over.")
    ] = "prompt",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how far raters agree on each dimension, and how good each rater is."""
    from videoalign.contracts.plain import plain
    from videoalign.data.dataset import Dataset
    from videoalign.data.judgements.agreement import count_guidelines, measure_agreement, measure_rating_agreement
    from videoalign.data.judgements.rater_quality import rater_quality
    from videoalign.errors import DataError

    data = Dataset.open(dataset)
    ratings = list(data.stream_ratings())
    if not ratings and not any(True for _ in data.stream_judgements()):
        raise DataError(f"{dataset}: nobody judged anything yet; import judgements or run 'videoalign annotate serve'.")
    by_dimension = measure_agreement(data.stream_judgements(), data.dimensions, cluster=cluster, seed=seed)
    prompts = {clip.clip_id: clip.prompt_id for clip in data.clips()}
    of_clips = measure_rating_agreement(ratings, prompts, data.dimensions, seed=seed)
    raters = rater_quality(data.stream_judgements(), data.dimensions)
    versions = count_guidelines(data.stream_judgements(), data.dimensions)
    tell_strangers(dataset)
    if as_json:
        found = {"dimensions": by_dimension, "ratings": of_clips, "raters": raters, "guidelines": versions}
        print_json(plain(found))
        return
    print_table(["on pairs", *by_dimension], _agreement_rows(list(by_dimension.values())))
    if of_clips:
        print_table(["on clips", *of_clips], _rating_rows(list(of_clips.values())))
    if raters:
        _show_raters(raters)
    for name, counts in versions.items():
        if len(counts) > 1:
            told = ", ".join(f"{number} under version {version or 'unknown'}" for version, number in counts.items())
            print(f"{name}: verdicts under more than one version of its guideline are counted together: {told}")


def leaderboard(
    dataset: Folder,
    aggregate: Annotated[
        Aggregation,
        typer.Option("--aggregate", help="How a label comes from what was said; shares counts every vote."),
    ] = Aggregation.SHARES,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Rank the generators of a dataset by what raters preferred, with ties and intervals over prompts."""
    from videoalign.contracts.plain import plain
    from videoalign.data.dataset import Dataset
    from videoalign.data.judgements.leaderboard import build_leaderboards, pooled_name
    from videoalign.errors import DataError

    data = Dataset.open(dataset)
    generators = {clip.clip_id: clip.generator for clip in data.clips()}
    pairs = data.judged_pairs(aggregate=aggregate)
    tell_strangers(dataset)
    boards = build_leaderboards(pairs, generators, data.dimensions, seed=seed)
    if not boards[pooled_name(data.dimensions)].models:
        raise DataError(f"{dataset}: no judged pair by two known generators; name them in clips.parquet.")
    if as_json:
        print_json(plain(boards))
        return
    for name, board in boards.items():
        _show_board(name, board)


def _agreement_rows(found: Sequence[DimensionAgreement]) -> list[list[Any]]:
    return [
        ["pairs", *(f.pairs for f in found)],
        ["by two or more", *(f.shared_pairs for f in found)],
        ["raters", *(f.raters for f in found)],
        ["alpha, nominal", *(_interval(f.alpha_nominal) for f in found)],
        ["alpha, ordinal", *(_interval(f.alpha_ordinal) for f in found)],
        ["Fleiss' kappa", *(_number(f.fleiss_kappa) for f in found)],
        ["  pairs x raters", *(f"{f.fleiss_pairs} x {f.fleiss_raters}" for f in found)],
        ["two agree", *(_number(f.raw.with_ties) for f in found)],
        ["  without ties", *(_number(f.raw.without_ties) for f in found)],
        ["human ceiling", *(_interval(f.ceiling.with_ties) for f in found)],
        ["  without ties", *(_interval(f.ceiling.without_ties) for f in found)],
    ]


def _rating_rows(found: Sequence[RatingAgreement]) -> list[list[Any]]:
    return [
        ["clips", *(f.clips for f in found)],
        ["alpha, ordinal", *(_interval(f.alpha_ordinal) for f in found)],
        ["alpha, interval", *(_interval(f.alpha_interval) for f in found)],
    ]


def _show_raters(raters: Sequence[RaterQuality]) -> None:
    """How often each rater is right, and how each goes about it."""
    names = {"rater": [row.rater for row in raters]}
    right = {
        "gold": [_share(row.gold, row.num_gold) for row in raters],
        "repeats": [_share(row.repeats, row.num_repeats) for row in raters],
        "others": [_share(row.others, row.num_others) for row in raters],
        "Dawid-Skene": [_number(row.dawid_skene) for row in raters],
    }
    habits = {
        "pairs": [str(row.pairs) for row in raters],
        "ties": [_number(row.ties) for row in raters],
        "left": [_share(row.left.share, row.left.num) for row in raters],
        "p of left": [_number(row.left.p_value) for row in raters],
        "seconds": [_number(row.median_seconds) for row in raters],
        "fast, slow": [f"{row.num_fast}, {row.num_slow}" if row.num_times else "" for row in raters],
    }
    for columns in (right, habits):
        known = names | {name: cells for name, cells in columns.items() if any(cells)}
        print_table(list(known), list(zip(*known.values(), strict=True)))


def _show_board(name: str, board: Leaderboard) -> None:
    """One table a group; ranks and strengths of different groups cannot be compared."""
    groups = sorted({row.group for row in board.models})
    for group in groups:
        rows = [
            [
                f"{row.rank}" + ("" if row.rank_low == row.rank_high else f" ({row.rank_low}-{row.rank_high})"),
                row.model,
                _interval(row.strength),
                f"{row.wins:.1f}",
                f"{row.ties:.1f}",
                f"{row.losses:.1f}",
            ]
            for row in board.models
            if row.group == group
        ]
        title = f"{name}: {board.pairs} pairs, {board.prompts} prompts"
        if not board.connected:
            title += f"; group {group + 1} of {len(groups)}"
        print_table(["rank", "model", "strength", "wins", "ties", "losses"], rows, title=title)
    if not board.connected:
        names = [", ".join(row.model for row in board.models if row.group == group) for group in groups]
        print("never compared with each other, so each has its own ranks: " + " | ".join(names))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _interval(found: Estimate) -> str:
    ends = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{_number(found.value)}{ends}"


def _share(found: Estimate, num: int) -> str:
    return f"{found.value:.2f} of {num}" if num else ""
