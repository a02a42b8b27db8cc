"""Operations and memory of a step, told from shapes, against what a step really takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from tests.models.generators.small_pipelines import build
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings, add_lora, as_reference
from videoalign.models.running import running_as
from videoalign.randomness import Draws
from videoalign.training.cost import KNOWN_NUMBERS, operations_of, step_cost
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import PairExample, TimeSettings, collate_pairs


def test_attention_counts_on_the_processor_too() -> None:
    """Two products forwards and five backwards, of 2 x 3 heads, 8 x 8 places and 16 channels each."""
    q = torch.nn.Parameter(torch.randn(2, 3, 8, 16))
    told = step_cost(lambda: functional.scaled_dot_product_attention(q, q, q).sum(), [q], [q])
    assert told.operations == 7 * 2 * (2 * 3 * 8 * 8 * 16)


def test_numbers_of_masks_are_known_and_those_of_latents_are_not() -> None:
    mask, x = torch.arange(9)[None] < 4, torch.zeros(1, 9, KNOWN_NUMBERS)

    def chosen() -> torch.Tensor:
        assert bool(mask.any()) and int(mask.sum()) == 4 and not bool((torch.zeros(3) == 1).any())
        kept = x[mask]
        assert kept.shape == (4, KNOWN_NUMBERS) and x[:, : int(mask.sum())].shape[1] == 4
        with pytest.raises(RuntimeError):
            bool(x.any())
        return kept @ kept.T

    assert operations_of(chosen) == 2 * 4 * 4 * KNOWN_NUMBERS


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
"""What torch's own counter has no formulas for."""

TEXTS = ["a red circle moves left", "a blue square moves right"]


def measured_peak(action) -> int:
    """Bytes that torch held at most while it ran, by its own allocator, beyond those before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    now = most = 0
    for event in sorted(
        (e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()
    ):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("name", "checkpointing"),
    [("WanPipeline", False), ("WanPipeline", True), ("HunyuanVideo15Pipeline", True), ("LTX2Pipeline", False)],
)
def test_memory_is_told_within_a_seventh_and_operations_exactly(name: str, checkpointing: bool) -> None:
    generator = PipelineGenerator(build(name), name="tiny")
    network, shape = generator.network, generator.codec.latent_shape
    parameters = add_lora(network.transformer, LoraSettings(rank=8))
    win, lose = torch.randn(2, 8, *shape, generator=torch.Generator().manual_seed(0))
    (condition,) = generator.conditioner.encode(TEXTS[:1]).split()
    batch = collate_pairs([PairExample(win=w, lose=x, condition=condition) for w, x in zip(win, lose, strict=True)])
    objective = DpoObjective(network, parameters, TimeSettings(), lambda: as_reference(network.transformer), beta=100.0)

    def loss() -> torch.Tensor:
        return objective.loss(batch, Draws(0, 0, range(8), 8)).value.sum()

    def step() -> None:
        torch.autograd.grad(loss(), list(parameters.values()), allow_unused=True)

    with running_as([network.transformer], checkpointing=checkpointing):
        told = step_cost(loss, parameters.values(), network.parameters())
        peak = measured_peak(step)
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            step()
    assert told.operations == counter.get_total_flops()
    assert told.activations_bytes == pytest.approx(peak, rel=0.15)
    assert told.weights_bytes == sum(4 * value.numel() for value in network.parameters())
    assert told.optimizer_bytes == 12 * sum(value.numel() for value in parameters.values())
    assert all(value.grad is None for value in parameters.values())
