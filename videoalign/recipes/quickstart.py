"""The whole path on the embedded world: clips, judgements, reward, alignment, steering, evaluation, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.output import claim_folder, write_json
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import RewardModel, SchedulerWrapper
from videoalign.contracts.records import Prompt
from videoalign.data.dataset import Dataset, prompt_id_of
from videoalign.data.pairs import PairsConfig, make_pairs
from videoalign.data.people import said_only_in
from videoalign.evaluation.compare import compare, guidance_entry
from videoalign.evaluation.report import ReportMedia, write_report
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.align import AlignConfig, DpoConfig, RwrConfig, SftConfig, align
from videoalign.recipes.encode import ClipSettings, encode
from videoalign.recipes.evaluate import JudgedClips, judge_dataset, library_versions, shown_rows
from videoalign.recipes.generate import GenerateConfig, generate, guide_wrapper, open_generator
from videoalign.recipes.guide import GuideTrainConfig, train_guide
from videoalign.recipes.reward import RewardTrainConfig, train_reward
from videoalign.recipes.reward_scores import eval_scores
from videoalign.recipes.scoring import score_dataset
from videoalign.recipes.stages import Stages
from videoalign.training.checkpoint import RunLog
from videoalign.training.loop import FitConfig
from videoalign.worlds.sprites.annotators import judge_pairs
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES, Sentence

MODEL = "sprites"
REWARD_NAME = "videoreward"
PAIRS_NAME = "relabelled"
GUIDE_NAME = "guide"

AnyConfig = TypeVar("AnyConfig", RewardTrainConfig, AlignConfig, GuideTrainConfig)

METHODS: dict[str, Callable[[QuickstartConfig], tuple[str, AlignConfig]]] = {
    "sft": lambda config: ("sft", config.sft),
    "rwr": lambda config: ("rwr", config.rwr),
    "dpo": lambda config: ("dpo", config.dpo),
    "dpo_t": lambda config: ("dpo", config.dpo.model_copy(update={"schedule": "squared"})),
}
"""Name in the results to method and settings."""

JUDGE_NOTE = "It labelled no pair: raters saw it through noise, and VideoReward learnt from the raters."

ABOUT = (
    "A small video generator, pretrained on flawed clips with captions that sometimes lie, made clips; three simulated "
    "raters judged them in pairs; VideoReward learnt from the judgements and relabelled the clips; four methods "
    "aligned the generator with the relabelled pairs; a noisy-latent reward steered it. Everything below is measured "
    "on prompts that no training saw."
)


REWARD_TEMPLATE = (
    "<|im_start|>user\n<|vision_start|>{video}<|vision_end|><|VQ_reward|><|MQ_reward|>Prompt: {prompt}\n<|TA_reward|>"
)
"""No guidelines: so small a model learns what is asked from the judgements alone, and reads half as many tokens."""

ADAPTER_FIT = FitConfig(num_steps=120, batch_size=16, learning_rate=1e-3, warmup_steps=10, schedule="cosine")
"""The same budget for every method."""


class QuickstartConfig(Config):
    """How large the run is."""

    seed: int = 0
    """Decides every random draw."""
    num_prompts: int = Field(default=len(TRAIN_SENTENCES), ge=2, le=len(TRAIN_SENTENCES))
    """Training prompts."""
    num_held_out: int = Field(default=len(HELD_OUT_SENTENCES), ge=1, le=len(HELD_OUT_SENTENCES))
    """Held-out prompts that the arms are compared on."""
    per_prompt: int = Field(default=12, ge=2)
    """Clips of each training prompt."""
    val_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training prompts that the reward is measured and normalised on."""
    judged_per_prompt: int = Field(default=2, gt=0)
    """Clips of each held-out prompt and arm in the evaluation."""
    reward: RewardTrainConfig = RewardTrainConfig(
        fit=FitConfig(
            num_steps=300,
            batch_size=2,
            learning_rate=1e-3,
            warmup_steps=20,
            schedule="cosine",
            betas=(0.9, 0.98),
            weight_decay=0.05,
        ),
        rates={"vision": 2e-4, "merger": 5e-4},
        template=REWARD_TEMPLATE,
        max_clips=12,
        shift_share=0.12,
    )
    """Training of VideoReward."""
    pairs: PairsConfig = PairsConfig(strategy="best_worst", max_per_prompt=6)
    """How the reward's scores become win-lose pairs."""
    sft: SftConfig = SftConfig(fit=ADAPTER_FIT)
    """Supervised fine-tuning."""
    rwr: RwrConfig = RwrConfig(fit=ADAPTER_FIT)
    """Flow-RWR."""
    dpo: DpoConfig = DpoConfig(fit=ADAPTER_FIT, beta=100.0, reference_draws=4)
    """Flow-DPO with constant beta; ``dpo_t`` is the same with beta (1 - t)^2."""
    guide: GuideTrainConfig = GuideTrainConfig(
        fit=FitConfig(num_steps=120, batch_size=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine"),
        num_blocks=6,
        max_clips=3,
    )
    """Training of the noisy-latent reward; so small a generator tells shapes apart in its last blocks only."""
    strength: float = Field(default=2.0, ge=0)
    """Strength of the guidance."""
    weightings: tuple[dict[str, float], ...] = (
        {"VQ": 1.0},
        {"VQ": 0.5, "MQ": 0.5},
        {"MQ": 1.0},
        {"MQ": 0.5, "TA": 0.5},
        {"TA": 1.0},
    )
    """Weights of the guidance table, a row each."""
    num_shown: int = Field(default=6, ge=0)
    """Prompts that the report shows clips of."""


def run(
    out: str | Path, config: QuickstartConfig | None = None, *, fresh: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Runs every stage that is not done yet and writes ``results.json`` and ``report.html``.

    Args:
        out: output folder; a run with the same settings goes on there.
        config: see `QuickstartConfig`.
        fresh: start over where ``out`` holds a run of ours.
        progress: shows each long stage.

    Returns:
        What ``results.json`` holds; see docs/reference/results.md.

    Raises:
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or QuickstartConfig()
    folder = claim_folder(
        out, {"command": "quickstart", **config.model_dump(mode="json")}, fresh=fresh, said=said_only_in
    )
    return _Quickstart(folder, config, progress).run()


class _Quickstart:
    """One run: its folder, its settings and the stages in order."""

    def __init__(self, folder: Path, config: QuickstartConfig, progress: Progress) -> None:
        self.folder, self.config, self.progress = folder, config, progress
        self.stages = Stages(folder)
        self.oracle = Oracle()
        self.held_out = [s.text() for s in _spread(HELD_OUT_SENTENCES, config.num_held_out)]
        self.generator = open_generator(MODEL)

    def run(self) -> dict[str, Any]:
        do = self.stages.run
        do("generate", self._generate)
        do("annotate", self._annotate)
        reward = do("reward", self._reward)
        do("pairs", self._pairs)
        do("encode", self._encode)
        for method in METHODS:
            do(f"align_{method}", partial(self._align, method))
        do("guide", self._guide)
        do("sample", self._sample)
        judged = do("judge", self._judge)
        results = self._results(reward, judged)
        write_json(self.folder / "results.json", results)
        write_report(self.folder, results, self._media(judged))
        return results

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.folder / "dataset")

    def _generate(self) -> None:
        """The base's clips of the training prompts, a share of them held out for the reward."""
        rng = np.random.default_rng(self.config.seed)
        sentences = _spread(TRAIN_SENTENCES, self.config.num_prompts)
        order = rng.permutation(len(sentences))
        held_out = set(order[: max(1, round(self.config.val_share * len(order)))].tolist())
        prompts = [
            Prompt(prompt_id=prompt_id_of(s.text()), text=s.text(), split="val" if i in held_out else "train")
            for i, s in enumerate(sentences)
        ]
        options = GenerateConfig(per_prompt=self.config.per_prompt, seed=self.config.seed, batch_size=16)
        generate(self.generator, prompts, self.folder / "dataset", options, progress=self.progress)

    def _annotate(self) -> None:
        """Three simulated raters judge every two clips of a prompt."""
        dataset = self.dataset
        seen = judge_dataset(self.oracle, dataset, [p.text for p in dataset.prompts()], progress=self.progress)
        scores = {clip.clip_id: row for clip, row in zip(seen.clips, seen.scores.tolist(), strict=True)}
        by_prompt: dict[str, list[str]] = {}
        for clip in seen.clips:
            by_prompt.setdefault(clip.prompt_id, []).append(clip.clip_id)
        rng = np.random.default_rng((self.config.seed, 1))
        pairs = [(p, *_shuffled(pair, rng)) for p, ids in by_prompt.items() for pair in combinations(ids, 2)]
        dataset.write_judgements(judge_pairs(pairs, scores, self.oracle.dimensions, rng))
        dataset.write_scores(
            self.oracle.name,
            [
                {"clip_id": clip_id, "raw": named, "normalised": named}
                for clip_id, row in scores.items()
                for named in [dict(zip(self.oracle.dimensions, row, strict=True))]
            ],
        )

    def _reward(self) -> dict[str, Any]:
        """VideoReward, its figures on held-out prompts, and the oracle's on the same pairs."""
        dataset, config = self.dataset, _seeded(self.config.reward, self.config.seed)
        trained = train_reward(dataset, MODEL, self.folder / REWARD_NAME, config, progress=self.progress)
        score_dataset(trained.reward, dataset, name=REWARD_NAME, progress=self.progress)
        figures = eval_scores(dataset, REWARD_NAME, seed=self.config.seed)
        truth = eval_scores(dataset, self.oracle.name, seed=self.config.seed)
        for name, row in figures.items():
            row["oracle_with_ties"], row["oracle_without_ties"] = truth[name]["with_ties"], truth[name]["without_ties"]
        return figures

    def _pairs(self) -> int:
        """Win-lose pairs from the reward's scores."""
        pairs = make_pairs(self.dataset, self.dataset.scores(REWARD_NAME), config=self.config.pairs)
        self.dataset.write_pairs(PAIRS_NAME, pairs)
        return len(pairs)

    def _encode(self) -> None:
        pairs, settings = self.dataset.pairs(PAIRS_NAME), ClipSettings(batch_size=16)
        encode(self.dataset, self.generator, pairs, settings, progress=self.progress)

    def _align(self, method: str) -> None:
        name, config = METHODS[method](self.config)
        out, config = self.folder / "adapters" / method, _seeded(config, self.config.seed)
        align(name, self.dataset, self.generator, PAIRS_NAME, out, config, progress=self.progress)

    def _guide(self) -> dict[str, float]:
        """The noisy-latent reward; its accuracy by dimension and noise band."""
        config = _seeded(self.config.guide, self.config.seed)
        out = self.folder / GUIDE_NAME
        return train_guide(
            self.dataset, self.generator, out, config, scores=REWARD_NAME, progress=self.progress
        ).accuracy

    def _sample(self) -> None:
        """Clips of the held-out prompts from every arm, with the same seeds."""
        options = GenerateConfig(
            per_prompt=self.config.judged_per_prompt, seed=self.config.seed + 1, batch_size=24, keep_latents=False
        )

        def make(arm: str, generator: Any, wrap: SchedulerWrapper | None = None) -> None:
            out = self.folder / "arms" / arm
            generate(generator, self.held_out, out, options, variant=arm, wrap_scheduler=wrap, progress=self.progress)

        make("base", self.generator)
        for method in METHODS:
            make(method, open_generator(MODEL, self.folder / "adapters" / method))
        for index, weights in enumerate(self.config.weightings):
            wrap = guide_wrapper(self.generator, self.folder / GUIDE_NAME, weights, self.config.strength)
            make(f"guided_{index}", self.generator, wrap)

    def _arms(self) -> list[str]:
        return ["base", *METHODS, *(f"guided_{index}" for index in range(len(self.config.weightings)))]

    def _judge(self) -> dict[str, Any]:
        """Scores of every arm by the oracle and by VideoReward, in the order of `JudgedClips`."""
        reward = VideoReward.from_pretrained(self.folder / REWARD_NAME)
        judges: dict[str, RewardModel] = {self.oracle.name: self.oracle, REWARD_NAME: reward}
        return {
            name: {arm: self._judged(judge, arm).scores.tolist() for arm in self._arms()}
            for name, judge in judges.items()
        }

    def _judged(self, judge: RewardModel, arm: str) -> JudgedClips:
        return judge_dataset(judge, Dataset.open(self.folder / "arms" / arm), self.held_out, progress=self.progress)

    def _results(self, reward: dict[str, Any], judged: dict[str, Any]) -> dict[str, Any]:
        prompts = self._judged_prompts()
        verdicts = {
            judge: {
                arm: compare(scores["base"], rows, prompts, self.oracle.dimensions)
                for arm, rows in scores.items()
                if arm != "base"
            }
            for judge, scores in judged.items()
        }
        by_oracle, by_reward = verdicts[self.oracle.name], verdicts[REWARD_NAME]
        return {
            "seed": self.config.seed,
            "versions": library_versions(),
            "command": f"videoalign quickstart --out {self.folder} --seed {self.config.seed}",
            "about": ABOUT,
            "run": {
                "Training prompts": self.config.num_prompts,
                "Clips per training prompt": self.config.per_prompt,
                "Win-lose pairs": len(self.dataset.pairs(PAIRS_NAME)),
                "Held-out prompts": len(self.held_out),
                "Clips per held-out prompt and model": self.config.judged_per_prompt,
                "Guidance strength": self.config.strength,
            },
            "dimensions": {dimension.name: dimension.guideline for dimension in self.dataset.info.dimensions},
            "judge": f"the {self.oracle.name}",
            "judge_note": JUDGE_NOTE,
            "reward": reward,
            "alignment": {method: by_oracle[method] for method in METHODS},
            "alignment_videoreward": {method: by_reward[method] for method in METHODS},
            "guidance": [
                guidance_entry(
                    {name: weights.get(name, 0.0) for name in self.oracle.dimensions}, by_oracle[f"guided_{i}"]
                )
                for i, weights in enumerate(self.config.weightings)
            ],
            "seconds": self.stages.seconds,
        }

    def _judged_prompts(self) -> list[str]:
        """The prompt of each judged clip, in the order of the scores."""
        return [text for text in self.held_out for _ in range(self.config.judged_per_prompt)]

    def _media(self, judged: dict[str, Any]) -> ReportMedia:
        arms = {arm: self._with_scores(arm, judged[self.oracle.name][arm]) for arm in self._arms()}
        histories = {method: self._history(f"adapters/{method}") for method in METHODS}
        histories |= {part: self._history(part) for part in (REWARD_NAME, GUIDE_NAME)}
        guided = {"unguided": arms["base"]} | {
            ", ".join(f"{name} {weight:g}" for name, weight in weights.items()): arms[f"guided_{i}"]
            for i, weights in enumerate(self.config.weightings)
        }
        shown = self.config.num_shown
        return ReportMedia(
            comparisons=shown_rows({arm: arms[arm] for arm in ("base", *METHODS)}, self.oracle.dimensions, shown),
            guidance=shown_rows(guided, self.oracle.dimensions, min(shown, 2)),
            histories=histories,
        )

    def _with_scores(self, arm: str, scores: list[list[float]]) -> JudgedClips:
        dataset = Dataset.open(self.folder / "arms" / arm)
        place = {text: number for number, text in enumerate(self.held_out)}
        texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
        clips = sorted(dataset.clips(), key=lambda clip: (place[texts[clip.prompt_id]], clip.seed))
        return JudgedClips(dataset=dataset, clips=clips, prompts=self._judged_prompts(), scores=np.array(scores))

    def _history(self, part: str) -> list[dict[str, float]]:
        return RunLog(self.folder / part / "log.jsonl").rows()


def _seeded(config: AnyConfig, seed: int) -> AnyConfig:
    """The settings of a training with the run's seed."""
    return config.model_copy(update={"fit": config.fit.model_copy(update={"seed": seed})})


def _spread(sentences: Sequence[Sentence], num: int) -> list[Sentence]:
    """``num`` of the sentences, evenly spread."""
    return [sentences[place * len(sentences) // num] for place in range(num)]


def _shuffled(pair: tuple[str, str], rng: np.random.Generator) -> tuple[str, str]:
    """Which clip is A and which is B must tell nothing."""
    return pair if rng.random() < 0.5 else (pair[1], pair[0])
