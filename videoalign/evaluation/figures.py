"""Every figure of a reward: what it means and where it is shown.

The report, ``result.md``, the command line and docs/reference/results.md read these tables, so that a new figure is one
row here beside its computation in `evaluation.reward`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ACCURACY, PROBABILITIES, COUNTS = "Accuracy", "Areas and probabilities", "What was counted"
"""Tables of ``result.md`` and of the command line, in this order."""

ALL_PAIRS, DECIDED_PAIRS = "All pairs, ties count", "Decided pairs"
"""Groups of columns in the report."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number by dimension, or a list of rows of them."""

    key: str
    """Its name in ``results.json``, ``result.json`` and ``--json``."""
    meaning: str
    """In one sentence."""
    interval: tuple[str, str] | None = None
    """Keys of both ends of its 95% interval, which is shown with it."""
    format: Literal["share", "number", "count", "rows"] = "number"
    """A share is a percentage in the report and elsewhere has three decimals, as a number has; rows are in no table."""
    group: str = ""
    """Table of ``result.md`` and of the command line that it stands in; empty: in none."""
    column: tuple[str, str] | None = None
    """Group of columns, or an empty text, and its head in the report; None: not there."""
    by_generators: bool = False
    """Whether it is counted for each two generators as well."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the figure and of its interval."""
        return (self.key, *(self.interval or ()))

    def cell(self, row: Mapping[str, Any]) -> str:
        """The figure in a row, as ``0.812 (0.743 to 0.871)`` where it has an interval; ``-`` for None."""
        digits = ".0f" if self.format == "count" else ".3f"
        value, *ends = ["-" if row[key] is None else format(row[key], digits) for key in self.keys]
        return value if not ends or "-" in ends else f"{value} ({ends[0]} to {ends[1]})"


REWARD: tuple[Figure, ...] = (
    Figure(
        key="with_ties",
        meaning="Share of all pairs predicted correctly; a tie is predicted where the scores differ by no more than a "
        "threshold that is fitted on the other folds of prompts, or, under `--legacy`, on the same pairs as the "
        "official code does, without an interval.",
        interval=("with_ties_low", "with_ties_high"),
        format="share",
        group=ACCURACY,
        column=(ALL_PAIRS, "Reward"),
        by_generators=True,
    ),
    Figure(
        key="random",
        meaning="The same of scores without meaning, their threshold fitted likewise.",
        format="share",
        group=ACCURACY,
        column=(ALL_PAIRS, "Guessing"),
    ),
    Figure(
        key="always_tie",
        meaning="The same of predicting nothing but ties.",
        format="share",
        group=ACCURACY,
        column=(ALL_PAIRS, "Always tie"),
    ),
    Figure(
        key="rater_agreement",
        meaning="How often two raters of one pair say the same, a tie being a label like any other; null where no pair "
        "has two.",
        format="share",
        group=ACCURACY,
        column=(ALL_PAIRS, "Two raters"),
    ),
    Figure(
        key="oracle_with_ties",
        meaning="`with_ties` of the oracle's own scores; in the quickstart alone.",
        format="share",
        column=(ALL_PAIRS, "Oracle"),
    ),
    Figure(
        key="without_ties",
        meaning="Share of the decided pairs whose scores are in the judged order; equal scores count as wrong.",
        interval=("low", "high"),
        format="share",
        group=ACCURACY,
        column=(DECIDED_PAIRS, "Reward"),
        by_generators=True,
    ),
    Figure(
        key="generator_identity",
        meaning="The same of knowing only which generator wins more often on the other folds of prompts; null where no "
        "decided pair compares two known generators, and with one prompt alone.",
        format="share",
        group=ACCURACY,
        column=(DECIDED_PAIRS, "Generator alone"),
    ),
    Figure(
        key="rater_agreement_without_ties",
        meaning="How often two raters of one pair say the same where neither chose a tie; null where there are none.",
        format="share",
        group=ACCURACY,
        column=(DECIDED_PAIRS, "Two raters"),
    ),
    Figure(
        key="oracle_without_ties",
        meaning="`without_ties` of the oracle's own scores; in the quickstart alone.",
        format="share",
        column=(DECIDED_PAIRS, "Oracle"),
    ),
    Figure(
        key="auc",
        meaning="Area under the ROC curve of telling A-preferred from B-preferred pairs by the difference of scores.",
        interval=("auc_low", "auc_high"),
        group=PROBABILITIES,
    ),
    Figure(
        key="tie_auc",
        meaning="Area under the ROC curve of telling decided pairs from ties by the size of the difference.",
        interval=("tie_auc_low", "tie_auc_high"),
        group=PROBABILITIES,
    ),
    Figure(
        key="log_loss",
        meaning="Mean of -ln P(verdict), with the probabilities of A, tie and B under a law of ties whose scale and "
        "width are fitted on the other folds of prompts.",
        group=PROBABILITIES,
    ),
    Figure(
        key="log_loss_shares",
        meaning="The same of giving every pair the shares of the verdicts on the other folds of prompts.",
        group=PROBABILITIES,
    ),
    Figure(
        key="brier",
        meaning="Mean squared distance of the probabilities of `log_loss` to the verdict, from 0 to 2.",
        group=PROBABILITIES,
    ),
    Figure(
        key="ece",
        meaning="Expected calibration error of the likeliest verdict under these probabilities, in ten bins.",
        group=PROBABILITIES,
    ),
    Figure(
        key="own_log_loss",
        meaning="As `log_loss`, with the probabilities of the law of ties that the reward itself was trained under; "
        "null without one.",
        group=PROBABILITIES,
    ),
    Figure(key="own_brier", meaning="As `brier`, of the reward's own probabilities.", group=PROBABILITIES),
    Figure(key="own_ece", meaning="As `ece`, of the reward's own probabilities.", group=PROBABILITIES),
    Figure(
        key="n",
        meaning="Pairs with a verdict.",
        format="count",
        group=COUNTS,
        column=("", "Pairs"),
        by_generators=True,
    ),
    Figure(key="n_decided", meaning="Those that are no ties.", format="count", group=COUNTS, by_generators=True),
    Figure(key="num_prompts", meaning="Prompts they belong to.", format="count", group=COUNTS),
    Figure(key="tie_share", meaning="Share of ties.", format="share", group=COUNTS, by_generators=True),
    Figure(
        key="threshold",
        meaning="The tie threshold that fits all pairs best, in units of the scores; `with_ties` does not use it.",
        group=COUNTS,
    ),
    Figure(
        key="left_out",
        meaning="Pairs left out because a clip or row cannot be used; only with `--skip-broken`.",
        format="count",
        group=COUNTS,
    ),
    Figure(
        key="reliability",
        meaning="For each bin of the likeliest verdict's probability under the law of `log_loss`: `low`, `high`, how "
        "many pairs `n`, the mean probability `confidence`, and the share `right` with that verdict.",
        format="rows",
    ),
    Figure(key="own_reliability", meaning="The same of the reward's own probabilities.", format="rows"),
    Figure(
        key="by_generators",
        meaning="A row for each two generators that meet: their names `generators`, and counts and accuracies with the "
        "ends of their intervals.",
        format="rows",
    ),
)
"""What `evaluation.reward.evaluate_reward` gives of each dimension, with what recipes add."""

COMPARISON: tuple[Figure, ...] = (
    Figure(key="n_decided", meaning="Decided pairs, both rewards on the same.", format="count"),
    Figure(key="num_prompts", meaning="Prompts they belong to.", format="count"),
    Figure(
        key="first",
        meaning="Share of them that the first reward orders as judged.",
        interval=("first_low", "first_high"),
        format="share",
    ),
    Figure(
        key="second",
        meaning="The same of the second reward.",
        interval=("second_low", "second_high"),
        format="share",
    ),
    Figure(key="only_first", meaning="Pairs that the first reward alone orders as judged.", format="count"),
    Figure(key="only_second", meaning="Pairs that the second reward alone orders as judged.", format="count"),
    Figure(
        key="p",
        meaning="P-value of the exact sign-flip test over prompts that neither is right more often; null without "
        "a decided pair, as the shares are.",
    ),
    Figure(key="p_holm", meaning="The same after Holm's correction for the number of dimensions."),
)
"""What `evaluation.reward.compare_rewards` gives of each dimension."""


def figure(key: str) -> Figure:
    """The figure with this key, of a reward or of a comparison; `KeyError` without one."""
    return {found.key: found for found in (*COMPARISON, *REWARD)}[key]


def groups() -> dict[str, tuple[Figure, ...]]:
    """Title to figures of each table of ``result.md`` and of the command line."""
    return {
        title: tuple(found for found in REWARD if found.group == title) for title in (ACCURACY, PROBABILITIES, COUNTS)
    }


def of_generators() -> tuple[Figure, ...]:
    """What is counted for each two generators as well."""
    return tuple(found for found in REWARD if found.by_generators)


def table(
    head: str, rows: Iterable[tuple[str, Mapping[str, Any]]], figures: Sequence[Figure], *, spaced: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of a table with a line for each named row of figures.

    Args:
        head: of the column of names.
        rows: name and figures by key.
        figures: those to show.
        spaced: write keys as words, which a narrow window can break.
    """
    keys = [one.key.replace("_", " ") if spaced else one.key for one in figures]
    return [head, *keys], [[name, *(one.cell(row) for one in figures)] for name, row in rows]
