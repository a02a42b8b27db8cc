"""What stands in a dataset folder, one class per table; the column names are the field names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from videoalign.config import Config

SCHEMA_VERSION = 1

Seed = Annotated[int, "up to 2^64 - 1"]
"""What a clip was sampled with: 64 bits with or without a sign, as ComfyUI and torch take them; -1 when unknown. Tables
hold it as a decimal, since no integer type of theirs has room for both ends."""

SEEDS = range(-(2**63), 2**64)
"""Every seed."""


class Label(StrEnum):
    """A rater's verdict on one dimension of one pair."""

    A = "A"
    B = "B"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    INVALID = "invalid"


VOTE_VALUES: dict[str, int | None] = {Label.A: 1, Label.TIE: 0, Label.BOTH_BAD: 0, Label.B: -1, Label.INVALID: None}
"""What each verdict counts as; no verdict of a pair is None."""


class Role(StrEnum):
    """As what a verdict was given."""

    RATER = "rater"
    """A vote on the label."""
    REPEAT = "repeat"
    """The same rater's second look; no vote."""
    ADJUDICATOR = "adjudicator"
    """The last word on what raters disagree about; it is the label."""
    GOLD = "gold"
    """The known answer; it is the label, whatever anybody says."""
    QUALIFICATION = "qualification"
    """An answer of a rater who is tested before the work begins; no vote."""
    HIDDEN_GOLD = "hidden_gold"
    """An answer of a rater at work to a pair whose label is known, unknown to the rater; no vote."""


class Aggregation(StrEnum):
    """How what was said of a pair becomes its label; `videoalign.data.judgements.votes` says what counts as a vote.

    Under every rule but `MAJORITY` a known answer or an adjudicator's last word is the label where there is one.
    """

    MAJORITY = "majority"
    """The label that most raters gave, whatever an adjudicator or a known answer says."""
    ADJUDICATED = "adjudicated"
    """The known answer, else the last word of an adjudicator, else the majority."""
    DAWID_SKENE = "dawid_skene"
    """Without a last word the likeliest label, when raters count by how reliable they are."""
    SHARES = "shares"
    """Without a last word the majority, and beside it the shares of the votes."""


INFO_FILE = "dataset.json"
"""In every dataset folder: `DatasetInfo`."""
SIMULATED = "simulated:"
"""What ``source_row`` begins with where no person judged."""
PROGRAMME_SOURCE = "annotate-"
"""What it begins with where people judged in ``annotate serve``; the key of the programme and a colon follow."""
ADDED = "added"
"""In ``provenance``: sources that came into a dataset later, as a JSON list."""


class Dimension(Config):
    """One aspect that raters judge."""

    name: str
    """Short name, as in VQ; letters, digits and underscore."""
    guideline: str
    """What a rater looks at, in plain words; it is also the rubric that a reward reads."""
    sees_prompt: bool = False
    """True when the judgement depends on the prompt, as TA does: the reward reads the prompt before this token."""


DEFAULT_DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        name="VQ",
        guideline="Visual quality: how clean, sharp, detailed and well lit each single frame is, whatever it shows.",
    ),
    Dimension(
        name="MQ",
        guideline=(
            "Motion quality: whether things really move, smoothly, steadily and plausibly; a frozen clip is poor."
        ),
    ),
    Dimension(
        name="TA",
        guideline="Text alignment: whether subject, its attributes, its action and the camera are as the prompt says.",
        sees_prompt=True,
    ),
)

OVERALL = "Overall"
"""Dimension of benchmarks that ask which clip is better as a whole; a reward need not score it by itself."""

TOGETHER = "overall"
"""Key of what is counted over all dimensions together, in comparisons and leaderboards; no dimension's name."""


class DatasetInfo(Config):
    """``dataset.json``."""

    schema_version: int = SCHEMA_VERSION
    """Version of this folder layout."""
    dimensions: tuple[Dimension, ...] = DEFAULT_DIMENSIONS
    """What is judged, in the order in which a reward reads them."""
    provenance: dict[str, str] = {}
    """Where the data come from: importer, source, command."""
    dataset_id: str = ""
    """Tells this dataset from all others to the databases in which people judge it; made when they first do."""


HELD_OUT = ("val", "test")
"""Splits that nothing is trained on unless it is asked for: ``val`` chooses and normalises, ``test`` is reported on."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """``prompts.parquet``."""

    prompt_id: str
    text: str
    split: str = "train"
    """``train``, ``val`` or ``test``; a prompt is in one alone."""
    media: str = ""
    """Picture or clip that was asked with beside the text: relative to the dataset folder, absolute, or an address;
    empty where there was none. The same text with another one is another prompt."""
    dealt: int = 0
    """1 once ``data split`` has put it into its split, where it stays; 0 for one that is new, or when unknown."""


Asked = str | Prompt
"""What a generator is asked for: a text, or a prompt whose ``media`` is a place that can be read as it stands."""


def text_of(asked: Asked) -> str:
    """The text of it."""
    return asked if isinstance(asked, str) else asked.text


def media_of(asked: Asked) -> str:
    """The picture or clip beside the text; empty where there is none."""
    return "" if isinstance(asked, str) else asked.media


@dataclass(frozen=True, kw_only=True)
class Clip:
    """``clips.parquet``."""

    clip_id: str
    prompt_id: str
    path: str
    """Relative to the dataset folder, or absolute when the clips stay where they were."""
    generator: str = ""
    """Name of the model that made it; empty when unknown."""
    seed: Seed = -1
    """Seed that it was sampled with; -1 when unknown."""
    fps: float
    num_frames: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """``judgements.parquet``: one rater, one pair, one dimension; kept for ever."""

    prompt_id: str
    clip_a: str
    clip_b: str
    rater: str
    dimension: str
    label: str
    """A value of `Label`."""
    source_row: str = ""
    """Where it stood in what was imported, as in ``pairs.csv:3``."""
    role: str = Role.RATER.value
    """A value of `Role`: whether it is a vote, the label itself, or neither."""
    left: str = ""
    """Which clip the rater saw on the left, ``A`` or ``B``; empty when unknown."""
    seconds: float = -1.0
    """How long the rater took over the pair; -1 when unknown."""
    guideline: int = 0
    """Version of the dimension's guideline that it was given under, as its rating programme counts; 0 when unknown."""
    content_a: str = ""
    """Stands for the clip and prompt that was judged, see `data.clip_content.input_key`; empty where that is not
    recorded, as of clips at an address."""
    content_b: str = ""
    """The same of the other clip."""


@dataclass(frozen=True, kw_only=True)
class Rating:
    """``ratings.parquet``: one rater, one clip, one dimension, on the rater's own scale."""

    clip_id: str
    rater: str
    dimension: str
    score: float
    source_row: str = ""


@dataclass(frozen=True, kw_only=True)
class WinLosePair:
    """``pairs/<name>.parquet``: what alignment trains on."""

    prompt_id: str
    clip_win: str
    clip_lose: str
    reward_win: float
    """Weighted mean of the clip's scores, in the units that `PairsConfig.units` names."""
    reward_lose: float
    reward: str = ""
    """Name of the reward whose scores made the pair; empty where it is not recorded, as of imported pairs."""
    reward_digest: str = ""
    """`RewardModel.digest` of it; empty where it is not recorded."""
    weights: str = ""
    """Weights of its dimensions, as in ``VQ=1,MQ=1,TA=1``; empty where they are not recorded."""
    content_win: str = ""
    """Stands for the clip and prompt that was scored; empty where that is not recorded."""
    content_lose: str = ""
    """The same of the other clip."""
    preference: float = 1.0
    """Chance that ``clip_win`` is the better one: 1, or 0.5 for a tie."""
    differences: str = ""
    """Score of ``clip_win`` less that of ``clip_lose`` on each dimension, as in ``VQ=0.3,MQ=-0.1``; empty where that is
    not recorded."""
