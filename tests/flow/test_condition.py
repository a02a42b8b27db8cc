"""Rows of conditions are kept at their own lengths and read at the model's."""

from __future__ import annotations

import pytest
import torch

from videoalign.flow.condition import Condition, join_conditions


def condition(*lengths: int, read_at: int | None = 6) -> Condition:
    """A text for each length, its tokens numbered from 1, with a mask and something that is no sequence."""
    text = torch.zeros(len(lengths), max(lengths), 2)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        text[row, :length] = torch.arange(1.0, length + 1)[:, None] + 10 * row
        mask[row, :length] = 1
    fixed = {} if read_at is None else {"text": read_at, "mask": read_at}
    return Condition({"text": text, "mask": mask, "level": torch.arange(float(len(lengths)))}, fixed)


def test_rows_lose_the_zeros_that_reading_gives_back() -> None:
    whole = condition(3, 1, 5)
    rows = whole.split()
    assert [row.tensors["text"].shape for row in rows] == [(1, 3, 2), (1, 1, 2), (1, 5, 2)]
    again = join_conditions(rows)
    assert len(again) == 3 and again.tensors["text"].shape == (3, 5, 2)
    for name in ("text", "mask", "level"):
        assert torch.equal(again[name], whole[name]) and again[name].dtype == whole[name].dtype
    assert again["text"].shape == (3, 6, 2) and again["mask"].sum(1).tolist() == [3, 1, 5]
    assert torch.equal(rows[1]["text"][0, 0], whole["text"][1, 0]) and not rows[1]["text"][0, 1:].any()


def test_without_a_length_a_batch_is_as_long_as_its_longest_row() -> None:
    parts = [condition(4, 2, read_at=None).rows([1]), condition(3, read_at=None)]
    joined = join_conditions(parts)
    assert joined["text"].shape == (2, 4, 2), "a row that nobody may trim keeps its zeros"
    assert joined["mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]


def test_a_text_of_nothing_but_zeros_keeps_a_token() -> None:
    (row,) = Condition({"text": torch.zeros(1, 4, 2)}, {"text": 4}).split()
    assert row.tensors["text"].shape == (1, 1, 2) and row["text"].shape == (1, 4, 2)


def test_rows_are_chosen_repeated_and_cut() -> None:
    whole = condition(2, 1, 3, 1)
    assert whole.rows([2, 0])["level"].tolist() == [2, 0] and whole.rows(slice(1, 3))["level"].tolist() == [1, 2]
    assert whole.repeat(2)["level"].tolist() == [0, 1, 2, 3] * 2
    assert torch.equal(whole.repeat(2)["text"], torch.cat([whole["text"]] * 2))
    assert [part["level"].tolist() for part in whole.chunk(2)] == [[0, 1], [2, 3]]
    assert whole.rows([1]).expand(3)["level"].tolist() == [1, 1, 1] and len(whole.expand(4)) == 4
    with pytest.raises(ValueError, match="4 rows cannot serve 3"):
        whole.expand(3)


def test_gradients_go_through_and_detach_stops_them() -> None:
    text = torch.ones(1, 2, 3, requires_grad=True)
    row = Condition({"text": text}, {"text": 5})
    join_conditions([row, row]).repeat(2)["text"].sum().backward()
    assert text.grad is not None and torch.equal(text.grad, torch.full((1, 2, 3), 4.0))
    assert not row.detach()["text"].requires_grad and row.to(torch.float64)["text"].dtype == torch.float64


def test_what_does_not_belong_together_is_refused() -> None:
    for other in (condition(2, read_at=7), Condition({"text": torch.zeros(1, 2, 2)}, {"text": 6, "mask": 6})):
        with pytest.raises(ValueError, match="cannot be joined"):
            join_conditions([condition(2), other])
    with pytest.raises(ValueError, match="no conditions"):
        join_conditions([])
