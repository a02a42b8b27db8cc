from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from videoalign.contracts.records import Label, Rating
from videoalign.data.dataset import JudgedPair
from videoalign.errors import ConfigError
from videoalign.losses.preference import label_shares, verdict_loss
from videoalign.randomness import Draws
from videoalign.training.judged_groups import make_groups
from videoalign.training.objective import Loss, means
from videoalign.training.objectives.reward import (
    JudgedGroup,
    RewardObjective,
    collate_groups,
    find_criterion,
)

A, B, TIE = Label.A, Label.B, Label.TIE


def judged(prompt: str, a: str, b: str, **labels: Label | None) -> JudgedPair:
    return JudgedPair(prompt_id=prompt, clip_a=a, clip_b=b, labels=labels, split="train")


class Table(nn.Module):
    """A score per clip, looked up."""

    def __init__(self, scores: list[list[float]]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, rows: list[int]) -> torch.Tensor:
        return self.scores[rows]


def told(loss: Loss) -> tuple[torch.Tensor, dict[str, float]]:
    """The mean loss over all judgements, and the accuracies."""
    names, table = loss.sums()
    mean = (loss.weight * loss.value).sum() / loss.weight.sum()
    return mean, {k: v for k, v in means([(names, table.tolist())]).items() if k != "loss"}


def draws(num: int) -> Draws:
    return Draws(0, 0, range(num), num)


def objective(scores: list[list[float]], loss: str = "btt", **ties: Any) -> RewardObjective:
    return RewardObjective(
        Table(scores), find_criterion(loss, 2, **ties), ["VQ", "TA"], part_of=lambda name: name, rates={}
    )


def batch_of_two():  # type: ignore[no-untyped-def]
    first = [judged("p", "a", "b", VQ=A, TA=TIE), judged("p", "c", "a", VQ=B, TA=None)]
    second = [judged("q", "d", "e", VQ=TIE, TA=B)]
    groups = make_groups([*first, *second], {"p": "P", "q": "Q"}, ["VQ", "TA"])
    clips = [clip for group in groups for clip in group.clip_ids]
    assert clips == ["a", "b", "c", "d", "e"]
    return collate_groups(groups, list(range(5)))


def test_each_clip_is_scored_once_and_every_pair_counts() -> None:
    batch = batch_of_two()
    assert batch.pairs.tolist() == [[0, 1], [2, 0], [3, 4]]
    scores = [[1.0, 0.0], [0.5, 2.0], [-1.0, 0.3], [0.1, 0.2], [0.4, 0.9]]
    loss, metrics = told(objective(scores).loss(batch, draws(2)))
    cases = [(1.0, 0.5, 1), (0.0, 2.0, 0), (-1.0, 1.0, -1), (0.1, 0.4, 0), (0.2, 0.9, -1)]
    a, b, label = torch.tensor(cases).T
    by_hand = verdict_loss(a - b, label_shares(label), "btt").tolist()
    assert float(loss) == pytest.approx(sum(by_hand) / 5, abs=1e-6)
    assert metrics == {"accuracy/VQ": 1.0, "accuracy/TA": 1.0}


def test_groups_count_by_their_judgements_and_their_clips_are_drawn_for_by_place() -> None:
    seen: list[float] = []

    def augment(inputs: list[int], generators: list[tuple[torch.Generator, int]]) -> list[int]:
        seen.extend(float(torch.rand((), generator=generator)) for generator, num in generators for _ in range(num))
        return inputs

    task = objective([[1.0, 0.0], [0.5, 2.0], [-1.0, 0.3], [0.1, 0.2], [0.4, 0.9]])
    task.augment = augment
    whole = task.loss(batch_of_two(), draws(2))
    assert whole.weight.tolist() == [3, 2]
    pairs = [[judged("p", "a", "b", VQ=A, TA=TIE), judged("p", "c", "a", VQ=B, TA=None)]]
    pairs.append([judged("q", "d", "e", VQ=TIE, TA=B)])
    for place, clips in ((1, [3, 4]), (0, [0, 1, 2])):
        groups = make_groups(pairs[place], {"p": "P", "q": "Q"}, ["VQ", "TA"])
        alone = task.loss(collate_groups(groups, clips), Draws(0, 0, [place], 2))
        torch.testing.assert_close(alone.value[0], whole.value[place])
    assert seen[5:] == [*seen[3:5], *seen[:3]]


def test_a_missing_verdict_gives_no_gradient() -> None:
    task = objective([[0.0, 0.0]] * 5)
    loss, _ = told(task.loss(batch_of_two(), draws(2)))
    loss.backward()
    gradient = task.reward.scores.grad
    assert float(gradient[2, 1]) == 0  # clip c has no verdict on TA
    assert float(gradient[2, 0]) > 0  # and lost on VQ, so its score must fall


def test_davidson_counts_every_verdict_with_its_own_law() -> None:
    scores = [[1.0, 0.0], [0.5, 2.0], [-1.0, 0.3], [0.1, 0.2], [0.4, 0.9]]
    loss, _ = told(objective(scores, "davidson", nu=3.0).loss(batch_of_two(), draws(2)))
    cases = [(1.0, 0.5, 1), (0.0, 2.0, 0), (-1.0, 1.0, -1), (0.1, 0.4, 0), (0.2, 0.9, -1)]
    by_hand = []
    for a, b, label in cases:
        weights = {1: math.exp((a - b) / 2), 0: 3.0, -1: math.exp((b - a) / 2)}
        by_hand.append(-math.log(weights[label] / sum(weights.values())))
    assert float(loss) == pytest.approx(sum(by_hand) / 5, abs=1e-6)


@pytest.mark.parametrize(("law", "start"), [("btt", 5.0), ("davidson", 4.0)])
def test_a_learnt_width_finds_the_share_of_ties(law: str, start: float) -> None:
    """Equal clips that tie in one pair of four: theta -> 5 / 3, nu -> 2 / 3; where all ties are missing it stays."""
    pairs = [judged("p", "a", str(n), VQ=TIE if n % 4 == 0 else (A, B)[n // 2 % 2], TA=None) for n in range(40)]
    groups = make_groups(pairs, {"p": "P"}, ["VQ", "TA"], max_clips=50)
    batch = collate_groups(groups, list(range(41)))
    task = objective([[0.0, 0.0]] * 41, law, learn_ties=True)
    task.reward.requires_grad_(False)
    widths = task.parameter_groups()[-1]["params"]
    optimiser = torch.optim.Adam(widths, lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        task.loss(batch, draws(1)).value.sum().backward()
        optimiser.step()
    found, untouched = task.criterion.widths()
    assert found == pytest.approx(5 / 3 if law == "btt" else 2 / 3, rel=1e-3)
    assert untouched == pytest.approx(start)


def test_learnt_widths_are_kept_and_put_back() -> None:
    one, other = (objective([[0.0, 0.0]] * 5, learn_ties=True) for _ in range(2))
    with torch.no_grad():
        one.criterion.log_above.copy_(torch.tensor([0.3, 2.0]))
        one.reward.scores.fill_(7.0)
    other.load_state_dict(one.state_dict())
    assert other.criterion.widths() == one.criterion.widths()
    assert torch.equal(other.reward.scores, one.reward.scores)
    assert "ties" not in objective([[0.0, 0.0]] * 5).state_dict()
    with pytest.raises(ValueError, match="names differ, such as ties"):
        objective([[0.0, 0.0]] * 5).load_state_dict(one.state_dict())


def test_bt_leaves_ties_out() -> None:
    loss, _ = told(objective([[0.0, 0.0]] * 5, "bt").loss(batch_of_two(), draws(2)))
    assert float(loss) == pytest.approx(math.log(2), abs=1e-6)


def test_regression_aims_at_the_mean_rating_less_three() -> None:
    ratings = [
        Rating(clip_id="a", rater="1", dimension="VQ", score=5),
        Rating(clip_id="a", rater="2", dimension="VQ", score=4),
        Rating(clip_id="b", rater="1", dimension="TA", score=1),
    ]
    groups = make_groups([judged("p", "a", "b", VQ=A, TA=None)], {"p": "P"}, ["VQ", "TA"], ratings=ratings)
    batch = collate_groups(groups, [0, 1])
    loss, _ = told(objective([[1.0, 9.0], [9.0, -1.0]], "regression").loss(batch, draws(1)))
    assert float(loss) == pytest.approx(((1.0 - 1.5) ** 2 + (-1.0 + 2.0) ** 2) / 2)


@pytest.mark.parametrize("max_clips", [2, 3, 4, 7])
def test_every_pair_stands_in_exactly_one_group(max_clips: int) -> None:
    names = "abcdefg"
    pairs = [judged("p", x, y, VQ=A) for i, x in enumerate(names) for y in names[i + 1 :]]
    pairs.append(judged("p", "a", "h", VQ=None))
    groups = make_groups(pairs, {"p": "P"}, ["VQ"], max_clips=max_clips)
    found = [(g.clip_ids[i], g.clip_ids[j]) for g in groups for i, j in g.pairs.tolist()]
    assert sorted(found) == sorted((x, y) for i, x in enumerate(names) for y in names[i + 1 :])
    assert max(len(group.clip_ids) for group in groups) <= max_clips


def test_labels_keep_their_orientation() -> None:
    (group,) = make_groups([judged("p", "a", "b", VQ=B, TA=None)], {"p": "P"}, ["VQ", "TA"])
    assert isinstance(group, JudgedGroup)
    assert group.shares.tolist() == [[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]


def voted(prompt: str, a: str, b: str, **votes: tuple[int, int, int]) -> JudgedPair:
    shares = {name: tuple(count / max(1, sum(counts)) for count in counts) for name, counts in votes.items()}
    labels = dict.fromkeys(votes)
    return JudgedPair(prompt_id=prompt, clip_a=a, clip_b=b, labels=labels, split="train", shares=shares)


def test_shares_are_those_of_the_votes_and_a_pair_that_splits_its_raters_counts() -> None:
    pairs = [voted("p", "a", "b", VQ=(1, 0, 1), TA=(0, 0, 0)), voted("p", "b", "c", VQ=(0, 0, 0), TA=(0, 0, 0))]
    (group,) = make_groups(pairs, {"p": "P"}, ["VQ", "TA"])
    assert group.clip_ids == ("a", "b")
    assert group.shares.tolist() == [[[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]]
    assert make_groups(pairs[1:], {"p": "P"}, ["VQ", "TA"]) == []


VOTES = [(3, 0, 0), (1, 1, 1), (0, 2, 1), (1, 0, 2), (0, 3, 0)]
SCORES = [[1.0], [0.5], [-1.0], [0.3], [0.1], [0.4]]


def loss_on(pairs: list[JudgedPair], loss: str, **ties: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient with respect to the scores, float64; clips are named by their place in SCORES."""
    groups = make_groups(pairs, {"p": "P"}, ["VQ"], max_clips=20)
    batch = collate_groups(groups, [int(clip) for clip in groups[0].clip_ids])
    task = RewardObjective(Table(SCORES).double(), find_criterion(loss, 1, **ties), ["VQ"], part_of=str, rates={})
    value, _ = told(task.loss(batch, draws(1)))
    value.backward()
    return value.detach(), task.reward.scores.grad


@pytest.mark.parametrize(("loss", "ties"), [("btt", {}), ("btt", {"learn_ties": True}), ("davidson", {}), ("bt", {})])
def test_loss_on_shares_is_the_mean_of_the_hard_losses_over_single_raters(loss: str, ties: dict[str, Any]) -> None:
    shares = [voted("p", str(n), str(n + 1), VQ=votes) for n, votes in enumerate(VOTES)]
    single = [
        judged("p", str(n), str(n + 1), VQ=verdict)
        for n, votes in enumerate(VOTES)
        for verdict, count in zip((A, TIE, B), votes, strict=True)
        for _ in range(count)
    ]
    for soft, hard in zip(loss_on(shares, loss, **ties), loss_on(single, loss, **ties), strict=True):
        torch.testing.assert_close(soft, hard, rtol=0, atol=1e-7)  # shares are float32


@pytest.mark.parametrize("loss", ["btt", "davidson", "bt"])
def test_unanimous_raters_cost_exactly_what_their_verdict_costs(loss: str) -> None:
    verdicts = {A: (3, 0, 0), TIE: (0, 2, 0), B: (0, 0, 5)}
    named = list(enumerate((A, TIE, B, B, A)))
    hard = loss_on([judged("p", str(n), str(n + 1), VQ=v) for n, v in named], loss)
    soft = loss_on([voted("p", str(n), str(n + 1), VQ=verdicts[v]) for n, v in named], loss)
    for one, other in zip(hard, soft, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_accuracy_goes_by_the_majority_of_the_votes() -> None:
    groups = make_groups([voted("p", "a", "b", VQ=(2, 0, 1)), voted("p", "c", "d", VQ=(1, 0, 1))], {"p": "P"}, ["VQ"])
    task = RewardObjective(Table([[0.0], [1.0], [0.0], [1.0]]), find_criterion("btt", 1), ["VQ"], part_of=str, rates={})
    assert told(task.loss(collate_groups(groups, [0, 1, 2, 3]), draws(1)))[1] == {"accuracy/VQ": 0.0}


def test_parts_have_their_own_rates_and_vectors_no_decay() -> None:
    module = nn.ModuleDict({"head": nn.Linear(2, 2), "vision": nn.Linear(2, 2, bias=False)})
    task = RewardObjective(
        module,
        find_criterion("bt", 1),
        ["VQ"],
        part_of=lambda name: name.split(".")[0],
        rates={"vision": 0.5},
        weight_decay=0.1,
    )
    shown = {(len(g["params"][0].shape), g.get("lr"), g["weight_decay"]) for g in task.parameter_groups()}
    assert shown == {(2, None, 0.1), (1, None, 0.0), (2, 0.5, 0.1)}


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'btt'"):
        find_criterion("bttt", 1)
    with pytest.raises(ConfigError, match="theta"):
        find_criterion("btt", 1, theta=1.0)
    with pytest.raises(ConfigError, match="nu: must be above 0"):
        find_criterion("davidson", 1, nu=0.0)
    with pytest.raises(ConfigError, match="learn_ties: loss=bt knows no ties"):
        find_criterion("bt", 1, learn_ties=True)
    with pytest.raises(ConfigError, match="max_clips"):
        make_groups([], {}, ["VQ"], max_clips=1)
    frozen = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ConfigError, match="unfreeze"):
        RewardObjective(frozen, find_criterion("bt", 1), ["VQ"], part_of=str, rates={})
