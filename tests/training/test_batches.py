"""Laws of how a step is cut and read."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from videoalign.distributed import Processes
from videoalign.training.batches import parts_of_step, read_ahead

SHAPES = {0: (9, 32), 1: (5, 64), 2: (9, 32), 3: (9, 64), 4: (5, 64)}
ORDER = [2, 1, 4, 0, 3, 3, 1, 2]


@pytest.mark.parametrize(("batch_size", "count"), [(8, 1), (2, 1), (1, 1), (3, 1), (2, 2), (1, 4)])
def test_examples_keep_their_places_however_a_step_is_cut_and_a_part_holds_one_shape(
    batch_size: int, count: int
) -> None:
    parts = [parts_of_step(7, ORDER, batch_size, SHAPES.__getitem__, Processes(rank, count)) for rank in range(count)]
    placed = {place: index for some in parts for part in some for place, index in zip(part.places, part.indices)}  # noqa: B905
    assert [placed[place] for place in range(8)] == [1, 4, 1, 2, 0, 2, 3, 3]
    for some in parts:
        assert [part.is_last for part in some] == [False] * (len(some) - 1) + [True]
        assert all(len({SHAPES[index] for index in part.indices}) == 1 for part in some)
        assert all(len(part.indices) <= batch_size for part in some)
    assert sum(len(some) for some in parts) <= -(-8 // batch_size) + 2


def test_examples_of_one_shape_stay_in_their_order() -> None:
    (part,) = parts_of_step(0, ORDER, 8, lambda _: 0)
    assert part.indices == ORDER and list(part.places) == list(range(8))


def test_one_is_read_while_another_is_worked_on_and_none_further() -> None:
    asked: list[int] = []
    second = threading.Event()

    def load(number: int) -> int:
        asked.append(number)
        if number == 1:
            second.set()
        return number * number

    with read_ahead(load, iter(range(4))) as squares:
        assert next(squares) == (0, 0)
        assert second.wait(timeout=10)
        assert asked == [0, 1]
        assert list(squares) == [(1, 1), (2, 4), (3, 9)]
    with read_ahead(load, [5]) as squares:
        assert list(squares) == [(5, 25)]


def test_a_mistake_is_told_where_its_batch_would_have_been() -> None:
    def load(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        return number

    def numbers() -> Iterator[int]:
        yield from range(3)

    with pytest.raises(ValueError, match="one"), read_ahead(load, numbers()) as read:
        assert next(read) == (0, 0)
        next(read)
