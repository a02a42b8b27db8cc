"""Flow-DPO: preference optimisation of a generator against its own frozen start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videoalign.flow.condition import Condition, join_conditions
from videoalign.flow.times import stratified
from videoalign.losses.flow_dpo import (
    Utility,
    beta_schedule,
    flow_dpo_loss,
    gradient_factor,
    implicit_margin,
    safe_share,
    sigmoid_utility,
    smoothed,
    steered_beta,
    with_gradient_share,
)
from videoalign.losses.flow_matching import per_frame_mse, per_sample_mse
from videoalign.randomness import Draws, fold_in
from videoalign.training.objective import Loss, Metric
from videoalign.training.objectives.flow import (
    FlowObjective,
    PairBatch,
    PairExample,
    PairReference,
    TimeSettings,
    Velocity,
    noise_of_seed,
    spread_weights,
    stack_references,
    velocities,
)

Reference = Callable[[], AbstractContextManager[None]]
"""While its block runs the generator is the reference, as with its adapter switched off."""


class DpoObjective(FlowObjective):
    """u(m), m = -(beta_t / 2) [(e_win - ref_win) - (e_lose - ref_lose)], u(m) = -log sigmoid(m) unless said.

    Equations 5 and 6 of arXiv 2501.13918; e are MEAN squared velocity errors. Both clips of a pair share one time and
    one noise, and go through the policy in one forward pass; likewise through the reference, unless the batch brings
    its errors on fixed draws. The formulas stand in `losses.flow_dpo`.

    Args:
        predict: see `FlowObjective`.
        parameters: see `FlowObjective`.
        times: see `FlowObjective`. Of a batch that brings a reference, law and shift are in its stored draws; one of
            them is taken, and stratified likewise: over a step, each part of the law as often as the others.
        reference: see `Reference`; None where every batch brings its errors.
        beta: pull towards the reference, above 0.
        gradient_target: mean gradient factor that beta is steered to, by `steered_beta` after every update; it is part
            of the state then. None leaves beta as it is.
        schedule: ``constant``, or ``squared`` for beta (1 - t)^2.
        utility: u.
        label_smoothing: chance that a label is wrong, in [0, 1/2).
        safeguard: mu of `safe_share`, which holds the losers' gradients back; None for none.
        frame_weights: see `FlowObjective`.
        sft_weight: adds that much of the winner's own error, as an anchor.
        margin_cap: pairs whose margin m is above it stop pushing; None for no cap.
        one_by_one: winners and losers go through the policy one after the other, forwards and again backwards: half of
            the activations are kept at a time, for one forward pass more. Gradients stay the same.
    """

    def __init__(
        self,
        predict: Velocity,
        parameters: Mapping[str, nn.Parameter],
        times: TimeSettings,
        reference: Reference | None,
        *,
        beta: float,
        gradient_target: float | None = None,
        schedule: Literal["constant", "squared"] = "constant",
        utility: Utility = sigmoid_utility,
        label_smoothing: float = 0.0,
        safeguard: float | None = None,
        frame_weights: Sequence[float] | None = None,
        sft_weight: float = 0.0,
        margin_cap: float | None = None,
        one_by_one: bool = False,
    ) -> None:
        super().__init__(predict, parameters, times, frame_weights=frame_weights)
        self.reference, self.beta, self.gradient_target, self.schedule = reference, beta, gradient_target, schedule
        self.utility, self.label_smoothing, self.safeguard = utility, label_smoothing, safeguard
        self.sft_weight, self.margin_cap, self.one_by_one = sft_weight, margin_cap, one_by_one

    def loss(self, batch: PairBatch, draws: Draws) -> Loss:
        """What each pair costs, with the health panel.

        The panel: ``implicit_accuracy``, share of pairs with m > 0, or below 0 where the other clip is the likelier to
        be better; m = 0, as at the start, counts half and ties do not count; ``margin``, m; ``win_excess`` and
        ``lose_excess``, policy error less reference error; ``gradient_factor``, sigmoid(-m), the share of its full
        gradient that a pair still gives; ``error_win``, policy error on the winners; ``margin_of_<dimension>``, m of
        the clip that is better on it, so below 0 where the policy moves to what is worse there; where they take part,
        ``loser_share`` of `safe_share` and ``beta``.
        """
        return self.loss_at(batch, *self.drawn(batch, draws))

    def loss_at(self, batch: PairBatch, t: Tensor, noise: Tensor, known: Tensor | None) -> Loss:
        """`loss` at what `drawn` gave."""
        t, noise = t.to(self.device), noise.to(self.device)
        inputs = self._inputs(batch, t, noise)
        if known is None:
            if self.reference is None:
                raise ValueError("reference: there is none to run, and the batch brings no errors of one")
            with torch.no_grad(), self.reference():
                known = self.errors(*velocities(self.predict, *inputs))
        errors, descents = self._policy_errors(inputs)
        (win, lose), (ref_win, ref_lose) = errors.chunk(2), known.to(errors).chunk(2)
        more: dict[str, Metric] = {}
        if self.safeguard is not None:
            more["loser_share"] = share = safe_share(*descents.chunk(2), mu=self.safeguard)
            lose = with_gradient_share(lose, share)
        beta = beta_schedule(t, self.beta, self.schedule)
        margin = implicit_margin(win, lose, ref_win, ref_lose, beta=beta)
        if self.gradient_target is not None:
            more["beta"] = torch.full_like(margin, self.beta)
        for name, better in batch.better.items():
            more[f"margin_of_{name}"] = (margin * better.to(margin), better.abs().to(margin))
        preference = batch.preference.to(margin)
        decided = (preference != 0.5).to(margin)
        panel: dict[str, Metric] = {
            "implicit_accuracy": (decided * (1 + margin.sign() * (preference - 0.5).sign()) / 2, decided),
            "margin": margin,
            "win_excess": win - ref_win,
            "lose_excess": lose - ref_lose,
            "gradient_factor": gradient_factor(margin),
            "error_win": win,
            **more,
        }
        preference = smoothed(preference, self.label_smoothing)
        per_pair = flow_dpo_loss(margin, preference, cap=self.margin_cap, utility=self.utility)
        per_pair = per_pair + self.sft_weight * win
        return Loss(batch.weight.to(per_pair) * per_pair, torch.ones_like(per_pair), t, panel)

    def after_update(self, row: Mapping[str, float]) -> None:
        """Steers beta by the row of the step just done, where that is asked for."""
        if self.gradient_target is not None and "gradient_factor" in row:
            self.beta = steered_beta(self.beta, row["gradient_factor"], target=self.gradient_target)

    def state_dict(self) -> dict[str, Tensor]:
        """The trained parameters by name, and ``beta`` where it is steered."""
        steered = {} if self.gradient_target is None else {"beta": torch.tensor(self.beta, dtype=torch.float64)}
        return {**super().state_dict(), **steered}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            ValueError: other names.
        """
        state = dict(state)
        if self.gradient_target is not None and "beta" in state:
            self.beta = float(state.pop("beta"))
        super().load_state_dict(state)

    @torch.no_grad()
    def reference_drift(self, batch: PairBatch) -> float:
        """How far the stored reference errors of a batch are from those of the generator as it is now.

        It is to be the reference for the call, see `Reference`. The most that the difference changes a margin,
        beta / 2 |stored - now|, over the clips of the batch at one of the stored draws each; 0 for a batch without
        stored errors.
        """
        if batch.reference is None:
            return 0.0
        num, kept = batch.reference.times.shape
        t, noise, stored = self._stored(batch, torch.arange(num) % kept)
        inputs = self._inputs(batch, t.to(self.device), noise.to(self.device))
        now = self.errors(*velocities(self.predict, *inputs)).cpu()
        beta = beta_schedule(t, self.beta, self.schedule)
        return float((0.5 * beta.repeat(2) * (stored - now).abs()).max())

    def drawn(self, batch: PairBatch, draws: Draws) -> tuple[Tensor, Tensor, Tensor | None]:
        """Times (B,), noise (B, C, F, H, W) and, of a batch that brings them, reference errors (2 B,)."""
        if batch.reference is None:
            return self.times.draw(draws), draws.normal("noise", batch.win.shape[1:]), None
        kept = batch.reference.times.shape[1]
        return self._stored(batch, (self.times.quantiles(draws) * kept).long().clamp(max=kept - 1))

    def _stored(self, batch: PairBatch, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Times (B,), noise (B, C, F, H, W) and reference errors (2 B,) of the chosen stored draw of each pair."""
        reference, shape = batch.reference, batch.win.shape[1:]
        assert reference is not None
        at = torch.arange(len(chosen)), chosen
        noise = torch.stack([noise_of_seed(int(seed), shape) for seed in reference.noise_seeds[at]])
        errors = torch.cat([reference.errors_win[at], reference.errors_lose[at]])
        if self.frame_weights is not None:
            errors = self.weighed(torch.cat([reference.frames_win[at], reference.frames_lose[at]]))
        return reference.times[at], noise, errors

    def _policy_errors(self, inputs: tuple[Tensor, Condition, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Errors (2 B,) of winners and losers, and what `safe_share` wants of them, without gradients."""
        if not self.one_by_one:
            return self._measured(*inputs)
        sides = zip(*(part.chunk(2) for part in inputs), strict=True)
        found = [checkpoint(self._measured, *side, use_reentrant=False) for side in sides]
        errors, descents = (torch.cat(parts) for parts in zip(*found, strict=True))
        return errors, descents

    def _measured(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Errors (B,) of clips, and the directions (B, ...) in which their predictions' errors rise; empty (B, 0) where
        nothing wants these."""
        prediction, target = velocities(self.predict, *inputs)
        errors = self.errors(prediction, target)
        if self.safeguard is None:
            return errors, errors.new_empty(len(errors), 0)
        residual = (prediction - target).detach()
        if self.frame_weights is not None:
            weights = residual.new_tensor(spread_weights(self.frame_weights, residual.shape[2]))
            residual = residual * weights.view(-1, 1, 1)
        return errors, residual

    def _inputs(self, batch: PairBatch, t: Tensor, noise: Tensor) -> tuple[Tensor, Condition, Tensor, Tensor]:
        """Winners and losers (2 B, ...), their conditions, times and noise, as `velocity_errors` takes them."""
        clips = torch.cat([batch.win, batch.lose]).to(self.device)
        return clips, batch.condition.to(self.device).repeat(2), t.repeat(2), torch.cat([noise, noise])


def fixed_draws(seed: int, num_draws: int, times: TimeSettings) -> tuple[Tensor, Tensor]:
    """Times float32 (K,), spread evenly over the law, and seeds of noise int64 (K,), by the pair's seed alone."""
    u = torch.cat([torch.rand(1, generator=fold_in(seed, "reference time", k)) for k in range(num_draws)])
    noise_seeds = [fold_in(seed, "reference noise", k).initial_seed() for k in range(num_draws)]
    return times.from_uniform(stratified(torch.arange(num_draws), u, num_draws)), torch.tensor(noise_seeds)


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
    """Errors of the reference on the `fixed_draws` of every pair: all tensors (P, K), those of frames (P, K, F).

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
            condition = join_conditions(e.condition for e in group).to(device).repeat(2)
            times_now, noise = t.to(device).repeat(2), noise.repeat(2, 1, 1, 1, 1)
            found = velocities(predict, data, condition, times_now, noise)
            errors, frames = per_sample_mse(*found).cpu(), per_frame_mse(*found).cpu()
            columns.append(PairReference(t, noise_seeds, *errors.chunk(2), *frames.chunk(2)))
            on_batch()
        parts.append(stack_references(columns))  # (K, B) each
    return PairReference(*(torch.cat([vars(part)[name].transpose(0, 1) for part in parts]) for name in vars(parts[0])))
