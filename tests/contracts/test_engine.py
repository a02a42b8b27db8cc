"""Bulk work in parts: in order, each once, read ahead within bounds, what is wrong with an item told in its place."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from videoalign.contracts.engine import InProcess, cut
from videoalign.errors import ConfigError, VideoAlignError, VideoError


def double(value: int) -> int:
    if value == 5:
        raise VideoError("5 is broken")
    return 2 * value


def test_parts_come_in_order_with_what_was_wrong_in_its_place() -> None:
    made = [done.made for done in InProcess().stream([[1, 2], [5], [3]], list, double)]
    assert made[0] == [2, 4] and made[2] == [6]
    assert isinstance(made[1][0], VideoError)
    assert [done.made for done in InProcess().stream([[1], [2]], sum)] == [1, 2]
    assert [done.made for done in InProcess().stream([[1], [2]], None, double)] == [[2], [4]]


def test_no_more_than_two_parts_are_held_and_the_next_is_read_while_the_model_works() -> None:
    taken: list[int] = []
    read = threading.Event()

    def parts() -> object:
        for number in range(9):
            taken.append(number)
            yield [number]

    def reading(number: int) -> int:
        if number == 1:
            read.set()
        return number

    def work(part: Sequence[int]) -> int:
        assert read.wait(10), "the second part is read while the first is worked on"
        return len(taken) - part[0]

    held = [done.made for done in InProcess().stream(parts(), work, reading)]  # type: ignore[arg-type]
    assert max(held) == 3  # the part that is worked on, and two
    assert taken == list(range(9))


def test_what_the_work_raises_ends_it() -> None:
    def work(part: Sequence[object]) -> None:
        raise ConfigError("no")

    with pytest.raises(VideoAlignError, match="no"):
        list(InProcess().stream([[1]], work))


def test_a_run_that_goes_on_is_cut_as_from_the_start_whole_parts_first() -> None:
    rows = list(range(10))
    assert cut(rows, 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert cut(rows, 4, {0, 1, 2, 3}.__contains__) == [[4, 5, 6, 7], [8, 9]]
    assert cut(rows, 4, {1, 9}.__contains__) == [[4, 5, 6, 7], [0, 2, 3], [8]]
    assert cut(rows, 4, rows.__contains__) == []
