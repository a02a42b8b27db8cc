"""Numbers follow from the seed and from names, never from a rank, an order or a global generator."""

from __future__ import annotations

import torch

from videoalign.randomness import Draws, fold_in


def test_a_stream_depends_on_seed_and_ids_alone() -> None:
    first = torch.randn(5, generator=fold_in(3, "epoch", 7))
    torch.randn(100)
    assert torch.equal(torch.randn(5, generator=fold_in(3, "epoch", 7)), first)


def test_streams_of_other_seeds_and_ids_differ() -> None:
    streams = [
        fold_in(0),
        fold_in(1),
        fold_in(0, 1),
        fold_in(0, "1"),
        fold_in(0, 1, 0),
        fold_in(0, 0, 1),
        fold_in(1, 0),
    ]
    assert len({generator.initial_seed() for generator in streams}) == len(streams)


def test_the_seed_of_a_stream_never_changes_between_versions() -> None:
    assert fold_in(0, "epoch", 1).initial_seed() == 0x6E2D05656FB569
    assert fold_in(42, 7).initial_seed() == 0x26CDE9DC12E2B0


def all_draws(places: list[int]) -> dict[str, torch.Tensor]:
    draws = Draws(seed=5, step=2, places=places, num=8)
    return {
        "uniform": draws.uniform("a"),
        "normal": draws.normal("a", (2, 3)),
        "strata": draws.strata("a"),
        "generators": torch.stack([torch.rand(2, generator=generator) for generator in draws.generators("a")]),
    }


def test_what_an_example_gets_follows_from_its_place_alone() -> None:
    whole = all_draws(list(range(8)))
    for places in ([3], [7, 0], [2, 6, 1, 5]):
        for name, value in all_draws(places).items():
            assert torch.equal(value, whole[name][places]), name


def test_places_steps_seeds_and_tags_draw_differently() -> None:
    one = Draws(0, 0, [0, 1], 2)
    others = [Draws(0, 1, [0, 1], 2).uniform("a"), Draws(1, 0, [0, 1], 2).uniform("a"), one.uniform("b")]
    numbers = torch.stack([one.uniform("a"), *others])
    assert len(numbers.unique()) == 8


def test_strata_are_a_permutation_of_the_step_and_change_from_step_to_step() -> None:
    orders = [Draws(0, step, range(16), 16).strata("time") for step in range(3)]
    assert all(sorted(order.tolist()) == list(range(16)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    all_draws([0, 3])
    assert torch.equal(torch.get_rng_state(), before)
