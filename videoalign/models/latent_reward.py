"""The noisy-latent reward of Flow-NRG: the generator's own first blocks, read by one attention query per dimension."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoalign.contracts.output import fingerprint, whole_file, write_json
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.losses.preference import LAWS
from videoalign.models.digest import weights_digest
from videoalign.models.generators.families import FAMILIES, Family, Trunk, family_of_transformer

FORMAT = "videoalign.latent_reward.1"
WEIGHTS_FILE = "model.safetensors"
SETTINGS_FILE = "latent_reward.json"
BLOCKS_SHARE = 0.25
"""Share of the generator's depth that is copied when nothing else is asked for."""
FIRST_TRANSFORMER = "WanTransformer3DModel"
"""Class of the base of a saved reward that does not tell it."""
FIRST_LAW = "bt"
"""Law of verdicts of a saved reward that does not tell it."""
DOUBTING_LAW = "thurstone"
"""Law of `losses.preference.LAWS` under which a reward learns how far its scores may be off."""
DOUBTS = (0.05, 0.25, 0.5, 0.75, 1.0)
"""Deviations that it starts from, at times spread evenly from 0 to 1."""


class LatentRewardModel(nn.Module):
    """Scores noisy latents at a known time, one number per dimension, differentiable in the latents.

    What stands before the blocks of a generator's transformer, its time and text conditioning and its first blocks are
    copied; one learned query per dimension attends to the tokens that leave them, and one linear row per dimension
    turns what it found into a score. Only differences mean something; their scale is that of the law of verdicts that
    it was trained under, nats for Bradley-Terry and its kin, deviations of what raters see for Thurstone's. Under the
    latter it also knows, for each dimension, how far a score at a time may be from that of the finished clip.
    """

    folder: Path | None = None
    """Where it was opened from."""
    width: tuple[float, ...] | None = None
    """Of the tie band of its law, by dimension; None where the law has none, or the training has not told it."""
    autoencoder = ""
    """Identity of the one whose latents it was trained on; empty where that is not known."""

    def __init__(
        self,
        config: Mapping[str, Any],
        dimensions: Sequence[str],
        *,
        num_blocks: int,
        base: str = "",
        transformer: str = FIRST_TRANSFORMER,
        constants: Mapping[str, float] | None = None,
        law: str = FIRST_LAW,
    ) -> None:
        """
        Args:
            config: settings of the base transformer, whole depth.
            dimensions: names of the scores, in order.
            num_blocks: how many of its blocks are used, from 1 to its depth.
            base: name of the generator that the blocks come from.
            transformer: class of the base transformer, one of a family that states its trunk.
            constants: `VelocityNet.constants` of the generator; by default the transformer is told 1000 at t = 1.
            law: of verdicts, a key of `losses.preference.LAWS`.

        Raises:
            ModelError: no dimension, a name twice, a transformer that is of no family or has no trunk, or a number of
                blocks that the base does not have.
        """
        super().__init__()
        self.family, self.trunk = _family(transformer, base)
        _check_shape(config, self.trunk, dimensions, num_blocks)
        self.dimensions = tuple(dimensions)
        self.base = base
        self.base_config = json.loads(json.dumps({k: v for k, v in config.items() if not k.startswith("_")}))
        self.num_blocks = num_blocks
        self.constants = dict(constants or {"time_scale": 1000.0})
        self.transformer = _shallow(self.family, self.trunk, self.base_config, num_blocks)
        self.num_heads = int(self.base_config["num_attention_heads"])
        width = self.num_heads * int(self.base_config["attention_head_dim"])
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(len(self.dimensions), width))
        self.to_key, self.to_value = nn.Linear(width, width), nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width)
        self.head_weight = nn.Parameter(torch.randn(len(self.dimensions), width) / width)
        self.head_bias = nn.Parameter(torch.zeros(len(self.dimensions)))
        self.law = law
        doubts = torch.tensor(DOUBTS).log().repeat(len(self.dimensions), 1)
        self.log_deviation = nn.Parameter(doubts) if law == DOUBTING_LAW else None

    @classmethod
    def from_transformer(
        cls,
        transformer: nn.Module,
        dimensions: Sequence[str],
        *,
        num_blocks: int | None = None,
        base: str = "",
        constants: Mapping[str, float] | None = None,
        law: str = FIRST_LAW,
        seed: int = 0,
    ) -> Self:
        """A reward that starts from a generator's weights; the generator is left as it is.

        Args:
            transformer: of a family that states its trunk; a LoRA adapter on it is left out of the copy.
            dimensions: names of the scores, in order.
            num_blocks: blocks to copy; by default a quarter of the depth, at least 1.
            base: name of the generator, kept in the saved folder.
            constants: `VelocityNet.constants` of the generator; by default the transformer is told 1000 at t = 1.
            law: of verdicts, a key of `losses.preference.LAWS`.
            seed: draws the queries and the head.

        Raises:
            ModelError: a transformer that is of no family or has no trunk, or settings that it cannot meet.
        """
        inner: Any = transformer.get_base_model() if isinstance(transformer, PeftModel) else transformer
        kind = type(inner).__name__
        _, trunk = _family(kind, base)
        depth = int(inner.config[trunk.depth])
        blocks = max(1, int(depth * BLOCKS_SHARE)) if num_blocks is None else num_blocks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own: dict[str, Any] = {"base": base, "transformer": kind, "constants": constants, "law": law}
            reward = cls(inner.config, dimensions, num_blocks=blocks, **own)
        weights = {name.replace(".base_layer.", "."): value for name, value in inner.state_dict().items()}
        copied = reward.transformer.state_dict()
        reward.transformer.load_state_dict({name: weights[name].detach().float() for name in copied})
        return reward

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Scores (B, D) at latents (B, C, F, H, W), times (B,) in [0, 1] and the generator's own conditions.

        Raises:
            ModelError: latents or text of another generator.
        """
        self._check_inputs(x_t, t, condition["text"])
        tokens = self.norm(self._tokens(x_t, t, condition))
        found = F.scaled_dot_product_attention(
            self._split(self.queries.expand(len(tokens), -1, -1)),
            self._split(self.to_key(tokens)),
            self._split(self.to_value(tokens)),
        )  # (B, heads, D, width / heads)
        found = self.head_norm(found.transpose(1, 2).flatten(2))  # (B, D, width)
        return (found * self.head_weight).sum(-1) + self.head_bias

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The same as `score`, so that wrappers which call the module work."""
        return self.score(x_t, t, condition)

    def deviation(self, t: Tensor) -> Tensor:
        """How far scores at times (B,) may be from those of the finished clips: a standard deviation, (B, D).

        It is that of the time and the dimension, in the unit of the scores; which clips are doubtful it does not tell.

        Raises:
            ModelError: the reward was not trained to know.
        """
        if self.log_deviation is None:
            raise ModelError(
                f"guide: this latent reward was trained with loss={self.law} and does not know how far it may be off; "
                f"train one with loss={DOUBTING_LAW}."
            )
        place = t.clamp(0, 1) * (self.log_deviation.shape[1] - 1)
        before = place.floor().clamp_max(self.log_deviation.shape[1] - 2)
        low, high = (self.log_deviation[:, (before + step).long()].T for step in (0, 1))  # (B, D)
        return torch.lerp(low, high, (place - before)[:, None].to(low)).exp()

    def unit(self, t: Tensor) -> Tensor | None:
        """Deviation of what raters of two finished clips see from the difference of the scores at times (B,), (B, D):
        their own, 1, and the doubt about each clip; None where the reward does not know it."""
        return None if self.log_deviation is None else (1 + 2 * self.deviation(t).square()).sqrt()

    def verdicts(self, differences: Tensor, t: Tensor) -> Tensor:
        """How likely raters of the finished clips prefer A, tie and prefer B, (Q, D, 3), by differences of scores at t.

        Args:
            differences: score of A less score of B, (Q, D).
            t: times of both, (Q,).
        """
        unit, found = self.unit(t), LAWS[self.law]
        scale = 1.0 if unit is None else unit
        if found.width is None:
            return found.log_probs(differences / scale).exp().movedim(0, -1) * differences.new_tensor([1.0, 0.0, 1.0])
        width = differences.new_tensor([found.width] * len(self.dimensions) if self.width is None else self.width)
        return found.log_probs(differences / scale, (width / scale).expand_as(differences)).exp().movedim(0, -1)

    def head_names(self) -> tuple[str, ...]:
        """Names of the parameters that are no copy of the generator's and start from a random draw."""
        return tuple(name for name, _ in self.named_parameters() if not name.startswith(_COPY))

    def require_base(self, name: str, config: Mapping[str, Any], autoencoder: str = "") -> None:
        """Confirms that a generator works in the latents and text states that this reward was made for.

        Args:
            name: what to call the generator in the message.
            config: settings of its transformer.
            autoencoder: identity of its autoencoder, where that is known.

        Raises:
            ModelError: channels, patch, width of text or picture, or the autoencoder differ.
        """
        if autoencoder and self.autoencoder and autoencoder != self.autoencoder:
            raise ModelError(
                f"guide: this latent reward was made for latents of another autoencoder, that of '{self.base}' "
                f"({self.autoencoder}), than '{name}' has ({autoencoder}). Train one for it with: videoalign guide "
                "train"
            )
        text_width = self.trunk.text_setting(self.base_config)
        for key in dict.fromkeys((self.trunk.channels, "in_channels", "patch_size", text_width, "image_dim")):
            have, want = json.loads(json.dumps(config.get(key))), self.base_config.get(key)
            if have != want:
                raise ModelError(
                    f"guide: this latent reward was made for '{self.base}' ({key} {want}); '{name}' has {key} {have}. "
                    "Train one for it with: videoalign guide train"
                )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes weights (safetensors) and settings (json) into ``folder``, each whole; other files there stay.

        Raises:
            OutputError: the place cannot be written.
        """
        settings = {
            "format": FORMAT,
            "base": self.base,
            "base_fingerprint": fingerprint(self.base_config),
            "dimensions": list(self.dimensions),
            "num_blocks": self.num_blocks,
            "num_train_timesteps": self.constants["time_scale"],
            "constants": self.constants,
            "transformer_class": self.family.transformer.__name__,
            "transformer": self.base_config,
            "law": self.law,
            "width": self.width,
            "autoencoder": self.autoencoder,
        }
        weights = {name.removeprefix(_COPY): value.detach().cpu() for name, value in self.state_dict().items()}
        with whole_file(Path(folder) / WEIGHTS_FILE) as aside:
            save_file({name: value.contiguous() for name, value in weights.items()}, aside)
        write_json(Path(folder) / SETTINGS_FILE, settings)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The reward in ``folder``, in float32 on the CPU, ready to score.

        Raises:
            ModelError: no latent reward there, another format, or weights that do not fit the settings.
        """
        folder = Path(folder)
        settings = _read_settings(folder)
        try:
            reward = cls(
                settings["transformer"],
                settings["dimensions"],
                num_blocks=settings["num_blocks"],
                base=settings["base"],
                transformer=settings.get("transformer_class", FIRST_TRANSFORMER),
                constants=settings.get("constants", {"time_scale": settings["num_train_timesteps"]}),
                law=_known_law(settings.get("law", FIRST_LAW)),
            )
            width = settings.get("width")
            reward.width = None if width is None else tuple(map(float, width))
            reward.autoencoder = str(settings.get("autoencoder", ""))
            own = {name for name in reward.state_dict() if not name.startswith(_COPY)}
            stored = load_file(folder / WEIGHTS_FILE).items()
            reward.load_state_dict({name if name in own else _COPY + name: value for name, value in stored})
        except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"guide: {folder} is damaged ({' '.join(str(error).split())[:160]}). Train it again with: "
                "videoalign guide train"
            ) from None
        reward.folder = folder
        return reward.eval()

    def reopener(self) -> Callable[[], LatentRewardModel]:
        """See `contracts.engine.Reopened`; a reward that stands where ``auto`` puts it here does so there."""
        if self.folder is None:
            raise ModelError("guide: it is in memory alone; save it and open it from its folder.")
        here = next(self.parameters()).device.type
        return partial(_reopened, self.folder, weights_digest(self), None if here == _auto() else here)

    def _tokens(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """What leaves the last of the blocks, (B, N, width), as the generator's own call brings it there."""
        seen: list[Tensor] = []

        def keep(block: nn.Module, inputs: Any, out: Any) -> None:
            seen.append(out[self.trunk.tokens_at] if isinstance(out, tuple) else out)
            torch.set_grad_enabled(False)  # what comes behind is thrown away, so nothing of it is kept for a gradient

        last: Any = getattr(self.transformer, self.trunk.blocks)[-1]
        hook = last.register_forward_hook(keep)
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):
                self.family.predict(self.transformer, x_t, t, condition, self.constants)
        finally:
            hook.remove()
        return seen[0]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, tokens, width / heads)

    def _check_inputs(self, x_t: Tensor, t: Tensor, text: Tensor) -> None:
        text_width = self.trunk.text_setting(self.base_config)
        channels, text_dim = (int(self.base_config[key]) for key in (self.trunk.channels, text_width))
        channels //= self.trunk.latents
        if x_t.ndim != 5 or x_t.shape[1] != channels or text.ndim != 3 or text.shape[2] != text_dim:
            raise ModelError(
                f"guide: the latent reward of '{self.base}' reads latents (B, {channels}, F, H, W) and text "
                f"(B, L, {text_dim}); got {tuple(x_t.shape)} and {tuple(text.shape)}. Use its generator."
            )
        if t.shape != x_t.shape[:1] or len(text) != len(x_t):
            raise ValueError(f"latents, t and text must agree on B; got {len(x_t)}, {tuple(t.shape)}, {len(text)}")


_COPY = "transformer."
"""What the names of the copied weights begin with; in the saved file they have those of the base."""


def _family(transformer: str, base: str) -> tuple[Family, Trunk]:
    family = family_of_transformer(transformer)
    if family is None or family.trunk is None:
        kinds = dict.fromkeys(one.transformer.__name__ for one in FAMILIES.values() if one.trunk is not None)
        of = f", as that of '{base}'" if base else ""
        raise ModelError(f"guide: a noisy-latent reward starts from a {' or '.join(kinds)}; got {transformer}{of}.")
    return family, family.trunk


def _shallow(family: Family, trunk: Trunk, config: Mapping[str, Any], num_blocks: int) -> nn.Module:
    """The base with so many blocks and random weights; what has no say in their tokens runs, but is no part of it."""
    depth = num_blocks + 1 if trunk.last_differs and num_blocks < config[trunk.depth] else num_blocks
    made: Any = family.transformer
    transformer: nn.Module = made.from_config({**config, **trunk.left_out, trunk.depth: depth})
    del getattr(transformer, trunk.blocks)[num_blocks:]
    for name, value in list(transformer.named_parameters()):
        if trunk.has_no_say(name):
            place, _, leaf = name.rpartition(".")
            owner = transformer.get_submodule(place)
            delattr(owner, leaf)
            owner.register_buffer(leaf, value.detach(), persistent=False)
    return transformer


def _check_shape(config: Mapping[str, Any], trunk: Trunk, dimensions: Sequence[str], num_blocks: int) -> None:
    if not dimensions or len(set(dimensions)) != len(dimensions):
        raise ModelError(f"guide: a latent reward needs one or more different dimensions; got {list(dimensions)}.")
    depth = int(config[trunk.depth])
    if not 1 <= num_blocks <= depth:
        raise ModelError(f"guide: num_blocks must be 1 to {depth}, the depth of the generator; got {num_blocks}.")


def _read_settings(folder: Path) -> dict[str, Any]:
    file = folder / SETTINGS_FILE
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        raise ModelError(
            f"guide: {folder} holds no latent reward (no {SETTINGS_FILE}). Make one with: videoalign guide train"
        ) from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ModelError(f"guide: {file} is not of the format {FORMAT}. Train it again with: videoalign guide train")
    return settings


def _known_law(name: str) -> str:
    LAWS[name]  # an unknown one is damage
    return name


def _auto() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _reopened(folder: Path, digest: str, device: str | None) -> LatentRewardModel:
    reward = LatentRewardModel.from_pretrained(folder)
    if weights_digest(reward) != digest:
        raise ModelError(f"guide: {folder} holds another one than was sent; give every machine the same files.")
    return reward.to(device or _auto())
