"""Flow-DPO: preference optimisation of a generator against its own frozen start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoalign.flow.times import fold_in
from videoalign.losses.flow_dpo import beta_schedule, implicit_margin
from videoalign.training.objectives.flow import (
    FlowObjective,
    PairBatch,
    PairExample,
    PairReference,
    TimeSettings,
    Velocity,
    draw,
    noise_of_seed,
    stack_references,
    velocity_errors,
)

Reference = Callable[[], AbstractContextManager[None]]
"""While its block runs the generator is the reference, as with its adapter switched off."""


class DpoObjective(FlowObjective):
    """-log sigmoid(m), m = -(beta_t / 2) [(e_win - ref_win) - (e_lose - ref_lose)].

    Equations 5 and 6 of arXiv 2501.13918; e are MEAN squared velocity errors. Both clips of a pair share one time and
    one noise, and go through the policy in one forward pass; likewise through the reference, unless the batch brings
    its errors on fixed draws.

    Args:
        predict: see `FlowObjective`.
        parameters: see `FlowObjective`.
        times: see `FlowObjective`; without effect on batches that bring a reference, whose times are drawn already.
        reference: see `Reference`.
        beta: pull towards the reference, above 0.
        schedule: ``constant``, or ``squared`` for beta (1 - t)^2.
        sft_weight: adds that much of the winner's own error, as an anchor.
        margin_cap: pairs whose margin m is above it stop pushing; None for no cap.
    """

    def __init__(
        self,
        predict: Velocity,
        parameters: Mapping[str, nn.Parameter],
        times: TimeSettings,
        reference: Reference,
        *,
        beta: float,
        schedule: Literal["constant", "squared"] = "constant",
        sft_weight: float = 0.0,
        margin_cap: float | None = None,
    ) -> None:
        super().__init__(predict, parameters, times)
        self.reference, self.beta, self.schedule = reference, beta, schedule
        self.sft_weight, self.margin_cap = sft_weight, margin_cap

    def loss(self, batch: PairBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean over the pairs, with the health panel.

        The panel: ``implicit_accuracy``, share of pairs with m > 0; ``margin``, mean m; ``win_excess`` and
        ``lose_excess``, mean policy error less reference error; ``gradient_factor``, mean sigmoid(-m), the share of
        its full gradient that a pair still gives; ``error_win``, mean policy error on the winners.
        """
        t, noise, known = self._draws(batch, generator)
        pair = [part.to(self.device) for part in (torch.cat([batch.win, batch.lose]), batch.text.repeat(2, 1, 1))]
        drawn = [part.to(self.device) for part in (t.repeat(2), torch.cat([noise, noise]))]
        if known is None:
            with torch.no_grad(), self.reference():
                known = velocity_errors(self.predict, *pair, *drawn)
        errors = velocity_errors(self.predict, *pair, *drawn)
        (win, lose), (ref_win, ref_lose) = errors.chunk(2), known.to(errors).chunk(2)
        beta = beta_schedule(t.to(self.device), self.beta, self.schedule)
        margin = implicit_margin(win, lose, ref_win, ref_lose, beta=beta)
        capped = margin if self.margin_cap is None else margin.clamp(max=self.margin_cap)
        per_pair = -F.logsigmoid(capped) + self.sft_weight * win
        panel = {
            "implicit_accuracy": (margin > 0).float().mean(),
            "margin": margin.mean(),
            "win_excess": (win - ref_win).mean(),
            "lose_excess": (lose - ref_lose).mean(),
            "gradient_factor": (-margin).sigmoid().mean(),
            "error_win": win.mean(),
        }
        return (batch.weight.to(per_pair) * per_pair).mean(), {name: float(v.detach()) for name, v in panel.items()}

    def _draws(self, batch: PairBatch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Times (B,), noise (B, C, F, H, W) and, of a batch that brings them, reference errors (2 B,)."""
        shape = batch.win.shape[1:]
        if batch.reference is None:
            return *draw(len(batch.win), shape, self.times, generator), None
        num, draws = batch.reference.times.shape
        chosen = torch.cat([torch.randint(draws, (1,), generator=generator) for _ in range(num)])
        rows = torch.arange(num)
        noise = torch.stack([noise_of_seed(int(seed), shape) for seed in batch.reference.noise_seeds[rows, chosen]])
        known = torch.cat(
            [errors[rows, chosen] for errors in (batch.reference.errors_win, batch.reference.errors_lose)]
        )
        return batch.reference.times[rows, chosen], noise, known


def fixed_draws(seed: int, num_draws: int, times: TimeSettings) -> tuple[Tensor, Tensor]:
    """Times float32 (K,), spread evenly over the law, and seeds of noise int64 (K,), by the pair's seed alone."""
    u = torch.cat([torch.rand(1, generator=fold_in(seed, "reference time", k)) for k in range(num_draws)])
    noise_seeds = [fold_in(seed, "reference noise", k).initial_seed() for k in range(num_draws)]
    return times.from_uniform((torch.arange(num_draws) + u) / num_draws), torch.tensor(noise_seeds)


@torch.no_grad()
def reference_errors(
    predict: Velocity,
    examples: Sequence[PairExample],
    *,
    seeds: Sequence[int],
    num_draws: int,
    times: TimeSettings,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    on_batch: Callable[[], None] = lambda: None,
) -> PairReference:
    """Errors of the reference on the `fixed_draws` of every pair: all tensors (P, K).

    Args:
        predict: the reference's velocity.
        examples: the pairs, P of them.
        seeds: of each pair; they alone decide its draws.
        num_draws: K.
        times: law and shift of the times.
        batch_size: pairs in one forward pass.
        device: where ``predict`` runs.
        on_batch: called after each forward pass, K ceil(P / batch_size) of them.
    """
    parts = []
    for begin in range(0, len(examples), batch_size):
        group = examples[begin : begin + batch_size]
        draws = [fixed_draws(seed, num_draws, times) for seed in seeds[begin : begin + batch_size]]
        columns = []
        for k in range(num_draws):
            t, noise_seeds = (torch.stack([draw[side][k] for draw in draws]) for side in (0, 1))
            noises = [noise_of_seed(int(seed), e.win.shape) for seed, e in zip(noise_seeds, group, strict=True)]
            noise = torch.stack(noises).to(device)
            data = torch.stack([e.win for e in group] + [e.lose for e in group]).to(device)
            text = torch.stack([e.text for e in group]).to(device).repeat(2, 1, 1)
            errors = velocity_errors(predict, data, text, t.to(device).repeat(2), noise.repeat(2, 1, 1, 1, 1)).cpu()
            columns.append(PairReference(t, noise_seeds, *errors.chunk(2)))
            on_batch()
        parts.append(stack_references(columns))  # (K, B) each
    return PairReference(*(torch.cat([vars(part)[name].T for part in parts]) for name in vars(parts[0])))
