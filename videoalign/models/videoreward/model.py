"""VideoReward: scores of a clip on named dimensions, read at one special token each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from videoalign.contracts.engine import NUM_READERS, InProcess
from videoalign.contracts.records import DEFAULT_DIMENSIONS, Dimension
from videoalign.contracts.scores import ClipScore, clip_score
from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.contracts.video import Video
from videoalign.errors import DataError, ModelError, VideoAlignError
from videoalign.models.digest import weights_digest
from videoalign.models.videoreward.backbone import (
    ModelInputs,
    hidden_states,
    use_frame_attention,
    use_patch_products,
)
from videoalign.models.videoreward.checkpoint import RewardParts, read_checkpoint, write_checkpoint
from videoalign.models.videoreward.families import find_family
from videoalign.models.videoreward.families.family import VIDEO_TOKEN
from videoalign.models.videoreward.hub import CARD_FILE, model_card, upload
from videoalign.models.videoreward.loading import load_options
from videoalign.models.videoreward.processing import Patches, ReadingLimits
from videoalign.models.videoreward.prompt import Chat, check_template
from videoalign.models.videoreward.score_laws import ScoreLaws
from videoalign.models.videoreward.scoring import BATCH_SIZE, PatchReader, batches, score_read
from videoalign.models.videoreward.settings import RewardSettings
from videoalign.models.videoreward.start import new_parts
from videoalign.video.sources import VideoSource


class VideoReward(ScoreLaws, nn.Module):
    """A Qwen2-VL, Qwen2.5-VL or Qwen3-VL with a special token per dimension and a bias-free linear head on their last
    hidden states; or, with ``pooling="last"``, with a row of the head per dimension on that of the turn's last token.

    The tokens' embeddings are parameters of their own, so that the backbone's embedding keeps its size and need not be
    trained. Satisfies `contracts.reward.RewardModel`.
    """

    token_ids: Tensor
    opened: Callable[[], VideoReward] | None = None
    """Opens it again, where it came from a folder or the hub."""

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: RewardSettings,
        *,
        tokens: Tensor,
        head: Tensor,
        name: str = "videoreward",
    ) -> None:
        """
        Args:
            backbone: language model and vision tower.
            tokenizer: its tokenizer; reward tokens are added where it has none.
            settings: see `RewardSettings`.
            tokens: embeddings of the reward tokens, (D, H); (0, H) with pooling="last".
            head: weight of the head, (1, H) when shared, else (D, H).
            name: what scores are stored under.

        Raises:
            ConfigError: the template does not fit the dimensions.
            ModelError: the tokenizer has no place for a clip, or the backbone is of no known family.
        """
        super().__init__()
        check_template(settings.template, settings.dimensions, settings.pooling)
        self.family = find_family(backbone.config.model_type)
        use_frame_attention(backbone)
        use_patch_products(backbone)
        self.name, self.settings, self.backbone = name, settings, backbone
        self.chat, device = Chat(tokenizer), backbone.device
        self.tokens = nn.Parameter(tokens.to(device))
        self.head = nn.Linear(head.shape[1], head.shape[0], bias=False)
        self.head.weight = nn.Parameter(head.to(device))
        self.processor = self.family.processor(backbone.config.vision_config, settings.limits)
        ids = self.chat.add_reward_tokens(settings.names[: settings.num_tokens])
        self.register_buffer("token_ids", torch.tensor(ids, device=device), persistent=False)

    @classmethod
    def from_base(
        cls,
        base: str | Path,
        *,
        dimensions: Sequence[Dimension] = DEFAULT_DIMENSIONS,
        limits: ReadingLimits | None = None,
        template: str | None = None,
        positions: str | None = None,
        pooling: str = "special",
        shared_head: bool | None = None,
        seed: int = 0,
        dtype: str | torch.dtype = "float32",
        attention: str = "sdpa",
        quantise: str | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """An untrained reward on a pretrained model (folder or hub id); new weights depend on the seed alone.

        Args:
            base: a Qwen2-VL, Qwen2.5-VL or Qwen3-VL.
            dimensions: what is scored.
            limits: what is read of a clip; default: 2 frames a second and 128 to 256 places per temporal patch.
            template: the whole chat turn; default: made from the guidelines and the system turn of the family.
            positions: 'plain' or 'mrope'; default: plain for Qwen2-VL, as the released VideoReward, mrope for the
                others, as they were trained themselves.
            pooling: 'special' reads each score at a token of its own, which stands before the prompt for dimensions
                that do not see it; 'last' reads all at the last token of the turn, after the prompt, so that every
                dimension sees it.
            shared_head: one row of the head for all dimensions, or a row each; default: one, a row each with 'last'.
            seed: of the new weights.
            dtype: see `LoadOptions`, likewise ``attention``, ``quantise`` and ``device``.

        Raises:
            ConfigError: unknown positions or pooling, one row of the head with 'last', a template or dimensions that do
                not fit.
            ModelError: the base cannot be loaded, or not in this way.
        """
        load = load_options(dtype=dtype, attention=attention, quantise=quantise, device=device)
        parts = new_parts(
            base,
            dimensions=dimensions,
            limits=limits,
            template=template,
            positions=positions,
            pooling=pooling,
            shared_head=shared_head,
            seed=seed,
            load=load,
        )
        return cls(parts.backbone, parts.tokenizer, parts.settings, tokens=parts.tokens, head=parts.head)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        attention: str = "sdpa",
        quantise: str | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """A reward ready to score.

        Args:
            path: a folder of `save_pretrained`, of a training run, or a hub id.
            revision: branch, tag or commit of the hub id.
            dtype: see `LoadOptions`, likewise ``attention``, ``quantise`` and ``device``.

        Raises:
            ConfigError: an unknown dtype, attention, quantisation or device.
            ModelError: no reward there, its weights do not fit, or they cannot be loaded in this way.
        """
        load = load_options(dtype=dtype, attention=attention, quantise=quantise, device=device)
        parts, name = read_checkpoint(path, revision=revision, load=load), Path(path).resolve().name
        model = cls(parts.backbone, parts.tokenizer, parts.settings, tokens=parts.tokens, head=parts.head, name=name)
        held: dict[str, Any] = {"dtype": dtype, "attention": attention, "quantise": quantise, "device": device}
        model.opened = partial(cls.from_pretrained, path, revision=revision, **held)
        return model.eval()

    def save_pretrained(self, path: str | Path) -> None:
        """Writes backbone, tokenizer, head and settings; see `checkpoint.write_checkpoint`."""
        parts = RewardParts(self.backbone, self.chat.tokenizer, self.settings, self.tokens, self.head.weight)
        write_checkpoint(path, parts)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Puts the reward, with a card that describes it, into a repository of the hub; gives its address.

        Args:
            repo_id: ``owner/name``; made when absent.
            private: of a repository that is made: only its owner sees it.
            token: of the hub; default: the one that is logged in.

        Raises:
            ModelError: the backbone was loaded in 8 or 4 bits.
            OutputError: the hub cannot be reached or does not let us.
        """
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "reward"
            self.save_pretrained(folder)
            (folder / CARD_FILE).write_text(model_card(repo_id, self.family.title, self.settings), encoding="utf-8")
            return upload(folder, repo_id, private=private, token=token)

    @property
    def digest(self) -> str:
        """A short hash of the reward tokens and the head, which every training changes and which stay float32 however
        the backbone is loaded: the same for the same reward in another folder, format or place."""
        parts = (value.detach().float().cpu().numpy().tobytes() for value in (self.tokens, self.head.weight))
        return hashlib.sha256(b"".join([" ".join(self.dimensions).encode(), *parts])).hexdigest()[:16]

    @property
    def used_prompts(self) -> UsedPrompts | None:
        """What it was trained, chosen and normalised on; None where that is not recorded."""
        return self.settings.used_prompts

    @property
    def sees_prompt(self) -> dict[str, bool]:
        """Whether a dimension reads the prompt, by its name."""
        return {one.name: one.sees_prompt for one in self.settings.dimensions}

    def about(self) -> dict[str, Any]:
        """Name, dimensions, how it reads a clip, and a hash of its weights and settings."""
        kind = str(next(self.backbone.parameters()).dtype).removeprefix("torch.")
        about = {"name": self.name, "dimensions": list(self.dimensions), "dtype": kind, "weights": weights_digest(self)}
        return {**about, **self.settings.about()}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tokens.device

    def inputs(self, clips: Sequence[Patches], prompts: Sequence[str]) -> ModelInputs:
        """A batch of clips with their prompts.

        Raises:
            DataError: a prompt is empty or holds a special token; numbers of clips and prompts differ.
        """
        if len(clips) != len(prompts):
            raise DataError(f"prompts: got {len(prompts)} for {len(clips)} clips; give one prompt per clip.")
        for prompt in set(prompts):
            self.chat.check_prompt(prompt)
        rows = [self._row(clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]
        return self.chat.batch(rows, clips, self.processor)

    def _row(self, clip: Patches, prompt: str) -> list[int]:
        text = self.family.clip_text(clip)
        places = self.processor.num_tokens(clip.grid) // text.count(VIDEO_TOKEN)
        return self.chat.tokens(self.settings.template, places, prompt, clip_text=text)

    def forward(self, inputs: ModelInputs) -> Tensor:
        """Raw scores, (B, D)."""
        ids, special = inputs.input_ids, self.settings.pooling == "special"
        last = (inputs.lengths - 1)[:, None].expand(-1, len(self.dimensions))
        columns = (ids[:, :, None] == self.token_ids).int().argmax(1) if special else last  # (B, D)
        rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(columns)
        table = self.backbone.get_input_embeddings()
        embeddings = table(ids.where(ids < table.num_embeddings, 0))
        if special:
            tokens = self.tokens.to(embeddings.dtype).expand(len(ids), -1, -1)
            embeddings = embeddings.index_put((rows, columns), tokens)
        states = hidden_states(self.backbone, inputs, embeddings, self.settings.positions)
        with torch.autocast(states.device.type, enabled=False):  # the head runs in its own format, float32
            scores = self.head(states[rows, columns].to(self.head.weight.dtype))  # (B, D, 1 or D)
        return scores[..., 0] if self.settings.shared_head else scores.diagonal(dim1=1, dim2=2)

    @torch.no_grad()
    def score_patches(self, clips: Sequence[Patches], prompts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """Raw scores, float64 (N, D), of clips that were cut into patches already.

        At most ``batch_size`` clips go through the model together, and fewer where they are large.
        """
        was_training = self.training
        self.eval()
        scores = [
            self(self.inputs(clips[part], prompts[part]).to(self.device)).double().cpu()
            for part in batches(clips, batch_size, self.device)
        ]
        self.train(was_training)
        return torch.cat(scores).numpy() if scores else np.zeros((0, len(self.dimensions)))

    def score_raw(self, videos: Sequence[Video], prompts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """Raw scores, float64 (N, D), order kept; their scale is arbitrary.

        Raises:
            DataError: a prompt is empty or holds a special token; numbers of clips and prompts differ.
            VideoError: a clip has fewer than two frames or an impossible shape.
        """
        return self.score_patches([self.processor.read(video) for video in videos], prompts, batch_size=batch_size)

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        """Normalised scores, float64 (N, D), order kept: 0 is the mean and 1 a deviation of the validation clips.

        Raises:
            ModelError: no normalisation is stored; otherwise as `score_raw`.
        """
        self.normalisation()
        return self.normalise(self.score_raw(videos, prompts))

    def score(
        self,
        videos: Sequence[VideoSource],
        prompts: Sequence[str] | str,
        *,
        batch_size: int = BATCH_SIZE,
        workers: int = NUM_READERS,
    ) -> list[ClipScore]:
        """Normalised and raw scores of clips in any form, order kept; a broken clip is reported at its index.

        Args:
            videos: each a path, an address, the bytes of a file, a `Video`, or ``(frames, fps)`` with a uint8 tensor or
                array (F, 3, H, W) or (F, H, W, 3) or a list of PIL pictures. Only the frames that are read are decoded.
            prompts: one per video, or one for all.
            batch_size: clips in one forward pass.
            workers: threads that decode.

        Raises:
            DataError: numbers of videos and prompts differ.
            ModelError: no normalisation is stored.
        """
        if isinstance(prompts, str):
            prompts = [prompts] * len(videos)
        if len(videos) != len(prompts):
            raise DataError(
                f"prompts: got {len(prompts)} for {len(videos)} videos; give one per video, or one for all."
            )
        pairs = zip(videos, prompts, strict=True)
        return list(self.score_stream(pairs, batch_size=batch_size, workers=workers))

    def score_stream(
        self, clips: Iterable[tuple[VideoSource, str]], *, batch_size: int = BATCH_SIZE, workers: int = NUM_READERS
    ) -> Iterator[ClipScore]:
        """As `score`, clip by clip from (video, prompt) as they come; holds no more than two batches.

        Raises:
            ModelError: no normalisation is stored.
        """
        self.normalisation()
        remaining = iter(clips)
        parts = iter(lambda: list(islice(remaining, batch_size)), [])
        for done in InProcess(workers).stream(parts, self.score_read, self.reader):
            for row in done.made:
                yield clip_score(self, row)

    @property
    def reader(self) -> PatchReader:
        """See `RewardModel.reader`."""
        return PatchReader(self.processor, self.chat)

    def score_read(self, read: Sequence[Any]) -> list[np.ndarray | VideoAlignError]:
        """See `scoring.score_read`."""
        return score_read(self, read)

    def reopener(self) -> Callable[[], VideoReward]:
        """See `contracts.engine.Reopened`."""
        if self.opened is None:
            raise ModelError(f"reward '{self.name}': it is in memory alone; save it and open it from its folder.")
        return partial(_reopened, self.opened, self.digest)

    def check_prompt(self, prompt: str) -> None:
        """See `Chat.check_prompt`."""
        self.chat.check_prompt(prompt)


def _reopened(opened: Callable[[], VideoReward], digest: str) -> VideoReward:
    reward = opened()
    if reward.digest != digest:
        raise ModelError(
            f"reward '{reward.name}': its folder holds another one than was sent; give every machine the same files, "
            "and save a reward that was changed after it was opened."
        )
    return reward
