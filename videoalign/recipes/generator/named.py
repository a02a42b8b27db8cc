"""Flow-DPO of released models: for each the settings, what a step takes, and the way from pairs to an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from videoalign.data.dataset import Dataset
from videoalign.flow.condition import Condition
from videoalign.models.generators.released import Released, released
from videoalign.models.lora import LoraSettings, adapter_parameters, add_lora, as_reference
from videoalign.models.running import running_as
from videoalign.randomness import Draws
from videoalign.recipes.generator.align import AlignResult, align
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.generate import open_generator
from videoalign.training.cost import StepCost, step_cost, without_numbers
from videoalign.training.loop import FitConfig, precision
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import PairExample, PairReference, TimeSettings, collate_pairs


@dataclass(frozen=True)
class Recipe:
    """How one released model is aligned with Flow-DPO."""

    name: str
    """Of the model in `models.generators.released`."""
    config: DpoConfig
    """Settings of `align`; change them with ``config.model_copy(update={...})``."""
    measured: str = ""
    """What was measured of it, on what, with which command; empty where nothing was."""

    @property
    def model(self) -> str:
        """Hub id of the base."""
        return released(self.name).model

    def run(
        self,
        dataset: str | Path | Dataset,
        pairs: str,
        out: str | Path,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        **options: Any,
    ) -> AlignResult:
        """Opens the model and trains an adapter on pairs: clips are encoded, reference errors stored, and so on.

        Args:
            dataset: with clips and pairs, or its folder.
            pairs: name of a table of pairs.
            out: folder of the adapter.
            model: where the base is, if not on the hub.
            device: see `load_generator`.
            dtype: see `load_generator`.
            options: of `align`, as ``fresh`` or ``progress``.

        Raises:
            ModelError: as in `load_generator`.
            ConfigError: as in `align`.
            DataError: as in `align`.
            OutputError: as in `align`.
        """
        opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
        settings = self.config.of_model()
        generator = open_generator(model or self.model, device=device, dtype=dtype, settings=settings)
        return align("dpo", opened, generator, pairs, out, self.config, **options)

    def cost(self) -> StepCost:
        """What one batch takes, told from the shapes in the model's config, as `training.cost` counts it.

        All blocks are alike, so two and three of them are counted, and each further one is taken to add as much. Of a
        model with two transformers, which train in turn, both are held, and one has activations. Texts are as long as
        the model reads them.
        """
        told = released(self.name)
        two, three = (self._cost(told, num_layers) for num_layers in (2, 3))
        found = {key: value + (told.num_layers - 2) * (vars(three)[key] - value) for key, value in vars(two).items()}
        for held in ("weights_bytes", "optimizer_bytes"):
            found[held] *= told.transformers
        return StepCost(**found)

    def _cost(self, told: Released, num_layers: int) -> StepCost:
        config, size = self.config, self.config.fit.batch_size
        shape = told.latent_shape(config.num_frames or 0, config.height or 0, config.width or 0)
        batch = collate_pairs([_pair(shape, told.condition, config.reference_draws)] * size)
        transformer = told.outline(torch.bfloat16, num_layers).train()
        add_lora(transformer, config.lora)
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        without_numbers(transformer, mode)
        parameters = adapter_parameters(transformer)
        objective = DpoObjective(
            partial(_predict, told, transformer),
            parameters,
            TimeSettings(),
            lambda: as_reference(transformer),
            beta=500.0,
            one_by_one=config.one_by_one,
        )
        drawn = objective.drawn(batch, Draws(0, 0, range(size), size))

        def loss() -> Tensor:
            with precision("bfloat16", torch.device("cpu")):
                return objective.loss_at(batch, *drawn).value.sum()

        with running_as([transformer], checkpointing=config.gradient_checkpointing):
            return step_cost(loss, parameters.values(), transformer.parameters(), mode=mode)


def _predict(told: Released, transformer: Any, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
    velocity: Tensor = told.family.predict(transformer, x_t, t, condition, told.constants)
    return velocity.float()


def _pair(shape: tuple[int, ...], condition: Mapping[str, tuple[int, ...]], draws: int) -> PairExample:
    read = {name: torch.ones(1, *size) for name, size in condition.items()}
    lengths = {name: size[0] for name, size in condition.items() if size}
    masks = {name: value.bool() for name, value in read.items() if name.endswith("_mask")}
    clip, t, frames = torch.zeros(shape), torch.full((1,), 0.5), torch.ones(1, shape[1])
    stored = PairReference(t, torch.zeros(1, dtype=torch.int64), t, t, frames, frames) if draws else None
    return PairExample(win=clip, lose=clip, condition=Condition({**read, **masks}, lengths), reference=stored)


def _recipe(name: str, num_frames: int, height: int, width: int, *, rank: int = 64, measured: str = "") -> Recipe:
    """What the paper gives for Flow-DPO with a constant beta, on one clip at a time, 16 pairs a step."""
    fit = FitConfig(
        num_steps=1000, batch_size=1, accumulate_steps=16, learning_rate=5e-6, warmup_steps=50, dtype="bfloat16"
    )
    config = DpoConfig(
        fit=fit,
        lora=LoraSettings(rank=rank, alpha=2.0 * rank),
        beta=500.0,
        reference_draws=4,
        gradient_checkpointing=True,
        one_by_one=True,
        num_frames=num_frames,
        height=height,
        width=width,
    )
    return Recipe(name, config, measured)


def wan21_1_3b() -> Recipe:
    """Wan 2.1 T2V 1.3B, 81 frames of 480 x 832."""
    return _recipe(
        "wan21_1_3b", 81, 480, 832,
        measured="a step of SFT on one clip: 2.78 s and 9.8 GiB on one NVIDIA H200 (benchmarks/gpu.py --shapes "
        "wan21-1.3b --steps 2)",
    )  # fmt: skip


def wan22_5b() -> Recipe:
    """Wan 2.2 TI2V 5B from a text, 121 frames of 704 x 1280."""
    return _recipe(
        "wan22_5b", 121, 704, 1280,
        measured="a step of SFT on one clip: 4.53 s and 20.9 GiB on one NVIDIA H200 (benchmarks/gpu.py --shapes "
        "wan22-5b --methods sft --steps 2)",
    )  # fmt: skip


def wan22_14b() -> Recipe:
    """Wan 2.2 T2V A14B, both transformers, 81 frames of 480 x 832."""
    return _recipe("wan22_14b", 81, 480, 832)


def ltx() -> Recipe:
    """LTX-Video 2B, 161 frames of 512 x 704."""
    return _recipe("ltx", 161, 512, 704)


def ltx2() -> Recipe:
    """The video of LTX-2, 121 frames of 512 x 768."""
    return _recipe("ltx2", 121, 512, 768)


def hunyuan15() -> Recipe:
    """HunyuanVideo 1.5 from a text, 121 frames of 480 x 832."""
    return _recipe("hunyuan15", 121, 480, 832)
