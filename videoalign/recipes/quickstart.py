"""The whole path on the embedded world: clips, judgements, reward, alignment, steering, evaluation, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from videoalign.contracts.generator import Generator
from videoalign.contracts.holding import held
from videoalign.contracts.output import claim_folder, write_json
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.versions import library_versions
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import CLIP_FOLDER, Dataset, prompt_id_of
from videoalign.data.latents import read_stored
from videoalign.data.pairs import pairs_of_scores
from videoalign.data.people import said_only_in
from videoalign.evaluation.compare import compare, guidance_entry, headline
from videoalign.evaluation.report import ReportMedia, write_report
from videoalign.models.digest import folder_digest
from videoalign.models.generators import sprites_folder
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.generator.align import AlignConfig, align
from videoalign.recipes.generator.encode import clips_of_pairs, encode, encode_reference, sampler_store
from videoalign.recipes.generator.evaluate import shown_rows
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.recipes.generator.steering import guide_wrapper
from videoalign.recipes.judges import JudgedClips, judge_dataset
from videoalign.recipes.quickstart_settings import (
    GUIDE_NAME,
    METHODS,
    MODEL,
    PAIRS_NAME,
    REWARD_NAME,
    SECONDS,
    QuickstartConfig,
)
from videoalign.recipes.reward.agreement import eval_scores
from videoalign.recipes.reward.base import base_path
from videoalign.recipes.reward.train import RewardTrainConfig, train_reward
from videoalign.recipes.score import score_dataset
from videoalign.recipes.stages import Stage, run_stages
from videoalign.stores.opening import as_given
from videoalign.training.checkpoint import RunLog
from videoalign.worlds.sprites.annotators import judge_pairs
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES, Sentence

AnyConfig = TypeVar("AnyConfig", RewardTrainConfig, AlignConfig, GuideTrainConfig)

NUM_SHARES = 2
"""Parts of the training clips that are made side by side."""

JUDGE_NOTE = "It labelled no pair: raters saw it through noise, and VideoReward learnt from the raters."

PROMPTS_NOTE = "No stage of alignment saw these prompts; the models it starts from were pretrained on all sentences."

ABOUT = (
    "A small video generator, pretrained on flawed clips with captions that sometimes lie, made clips; three simulated "
    "raters judged them in pairs; VideoReward learnt from the judgements and relabelled the clips; four methods "
    "aligned the generator with the relabelled pairs; a noisy-latent reward, which learnt from the same judgements, "
    "steered it. Everything below is measured on prompts that no stage of alignment saw, neither judgements nor "
    "rewards nor adapters. The pretraining of the generator and of the reward's base drew from all sentences of this "
    "world, these included."
)


@held
def run(
    out: str | Path,
    config: QuickstartConfig | None = None,
    *,
    fresh: bool = False,
    say: Callable[[str], object] = str,
) -> dict[str, Any]:
    """Runs every stage that is not done yet and writes ``results.json`` and ``report.html``.

    Args:
        out: output folder; a run with the same settings goes on there.
        config: see `QuickstartConfig`.
        fresh: start over where ``out`` holds a run of ours.
        say: is told how many stages are done, which ones run, and how much time is left.

    Returns:
        What ``results.json`` holds; see docs/reference/results.md.

    Raises:
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or QuickstartConfig()
    weights = {"generator": folder_digest(sprites_folder(), "**/*"), "reward": folder_digest(base_path(MODEL), "**/*")}
    identity = {"command": "quickstart", **config.model_dump(mode="json", exclude={"num_workers"}), "weights": weights}
    folder = claim_folder(out, identity, fresh=fresh, said=said_only_in)
    quickstart = _Quickstart(folder, config)
    records = run_stages(
        folder / "stages", quickstart.stages, partial(_stage, folder, config), num_workers=config.num_workers, say=say
    )
    return quickstart.report(records)


def _stage(folder: Path, config: QuickstartConfig, name: str) -> Any:
    """One stage, in whatever process this is."""
    return _Quickstart(folder, config).work[name]()


class _Quickstart:
    """One run: its folder, its settings and its stages."""

    def __init__(self, folder: Path, config: QuickstartConfig) -> None:
        self.folder, self.config = folder, config
        self.oracle = Oracle()
        self.held_out = [s.text() for s in _spread(HELD_OUT_SENTENCES, config.num_held_out)]
        shares = [f"generate_{share}" for share in range(NUM_SHARES)]
        self.work: dict[str, Callable[[], Any]] = {
            **{name: partial(self._generate, share) for share, name in enumerate(shares)},
            "gather": self._gather,
            "annotate": self._annotate,
            "reward": self._reward,
            "pairs": self._pairs,
            "encode": self._encode,
            "guide": self._guide,
            **{f"align_{method}": partial(self._align, method) for method in reversed(METHODS)},
            **{f"sample_{arm}": partial(self._sample, arm) for arm in self._arms()},
        }
        needs = {"gather": shares, "annotate": ["gather"], "reward": ["annotate"], "guide": ["annotate"]}
        needs |= {"pairs": ["reward"], "encode": ["pairs"], "sample_base": ["reward"]}
        needs |= {f"align_{method}": ["encode"] for method in METHODS}
        needs |= {f"sample_{method}": [f"align_{method}"] for method in METHODS}
        needs |= {f"sample_{arm}": ["guide"] for arm in self._guided()}
        self.stages = {name: Stage(SECONDS[name.partition("_")[0]], tuple(needs.get(name, ()))) for name in self.work}

    def report(self, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Writes ``results.json`` and ``report.html`` from what the stages left; returns the results."""
        judged = {arm: records[f"sample_{arm}"]["result"] for arm in self._arms()}
        seconds = {name: record["seconds"] for name, record in records.items()}
        results = {**self._results(records["reward"]["result"], judged), "seconds": seconds}
        write_json(self.folder / "results.json", results)
        write_report(self.folder, results, self._media(judged))
        return results

    @cached_property
    def generator(self) -> Generator:
        return open_generator(MODEL)

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.folder / "dataset")

    def _prompts(self) -> list[Prompt]:
        """Those to train on, a share of them held out for the reward."""
        rng = np.random.default_rng(self.config.seed)
        sentences = _spread(TRAIN_SENTENCES, self.config.num_prompts)
        order = rng.permutation(len(sentences))
        held_out = set(order[: max(1, round(self.config.val_share * len(order)))].tolist())
        return [
            Prompt(prompt_id=prompt_id_of(s.text()), text=s.text(), split="val" if i in held_out else "train")
            for i, s in enumerate(sentences)
        ]

    def _generate(self, share: int) -> None:
        """The base's clips of every second training prompt."""
        options = GenerateConfig(
            per_prompt=self.config.per_prompt, seed=self.config.seed, batch_size=16, check_steps=False
        )
        generate(self.generator, self._prompts()[share::NUM_SHARES], self._share(share), options)

    def _share(self, share: int) -> Path:
        return self.folder / "shares" / str(share)

    def _gather(self) -> None:
        """One dataset of all the clips, with their latents, prompt after prompt, and the conditions of all prompts.

        Were these left to the stages that read them, the first to come would decide in which batch a text is encoded,
        and so its last bits.
        """
        dataset = Dataset.create(self.folder / "dataset", DatasetInfo(), exist_ok=True)
        shares = [Dataset.open(self._share(share)) for share in range(NUM_SHARES)]
        clips: dict[str, list[Clip]] = {}
        for share in shares:
            shutil.copytree(share.path / CLIP_FOLDER, dataset.path / CLIP_FOLDER, dirs_exist_ok=True)
            kept = sampler_store(share, self.generator)
            places = [kept.place(key) for key in clip_keys(share, share.clips())]
            latents = {place.key: tensor for place, tensor in read_stored(places).items()}
            sampler_store(dataset, self.generator).add(latents)
            for clip in share.clips():
                clips.setdefault(clip.prompt_id, []).append(clip)
        prompts = self._prompts()
        dataset.add(prompts=prompts, clips=[clip for prompt in prompts for clip in clips[prompt.prompt_id]])
        encode(dataset, self.generator, [clip.clip_id for some in clips.values() for clip in some[:2]])
        shutil.rmtree(self.folder / "shares")

    def _annotate(self) -> None:
        """Three simulated raters judge every two clips of a prompt."""
        dataset = self.dataset
        seen = judge_dataset(self.oracle, dataset, [p.text for p in dataset.prompts()])
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
        trained = train_reward(dataset, MODEL, self.folder / REWARD_NAME, config)
        score_dataset(trained.reward, dataset, name=REWARD_NAME)
        figures = eval_scores(dataset, REWARD_NAME, seed=self.config.seed)
        truth = eval_scores(dataset, self.oracle.name, seed=self.config.seed)
        for name, row in figures.items():
            row["oracle_with_ties"], row["oracle_without_ties"] = truth[name]["with_ties"], truth[name]["without_ties"]
        return figures

    def _pairs(self) -> int:
        """Win-lose pairs from the reward's scores."""
        dataset = self.dataset
        dataset.write_pairs(PAIRS_NAME, pairs_of_scores(dataset, REWARD_NAME, config=self.config.pairs))
        return len(dataset.pairs(PAIRS_NAME))

    def _encode(self) -> None:
        """Conditions, and the reference's errors that both kinds of Flow-DPO train on; the latents are there."""
        dataset, dpo, pairs = self.dataset, self.config.dpo, self.dataset.pairs(PAIRS_NAME)
        cache = encode(dataset, self.generator, clips_of_pairs(dataset, pairs))
        if not dpo.reference_draws:
            return
        encode_reference(
            self.generator,
            cache,
            pairs,
            num_draws=dpo.reference_draws,
            times=dpo.times,
            dtype=dpo.fit.dtype,
        )

    def _align(self, method: str) -> None:
        name, pairs, config = METHODS[method](self.config)
        out, config = self.folder / "adapters" / method, _seeded(config, self.config.seed)
        align(name, self.dataset, self.generator, pairs, out, config)

    def _guide(self) -> dict[str, float]:
        """The noisy-latent reward, from the raters' judgements; its accuracy by dimension and noise band."""
        config = _seeded(self.config.guide, self.config.seed)
        out = self.folder / GUIDE_NAME
        return train_guide(self.dataset, self.generator, out, config).accuracy

    def _sample(self, arm: str) -> dict[str, list[list[float]]]:
        """Clips of the held-out prompts, with the same seeds in every arm, and their scores by judge, ordered as
        `_judged_prompts`; VideoReward judges the aligned models and the base alone."""
        generator, steering = self.generator, None
        if arm in METHODS:
            generator = open_generator(MODEL, self.folder / "adapters" / arm)
        elif arm in self._guided():
            steering = guide_wrapper(generator, self.folder / GUIDE_NAME, self._guided()[arm], self.config.strength)
        options = GenerateConfig(
            per_prompt=self.config.judged_per_prompt,
            seed=self.config.seed + 1,
            batch_size=24,
            keep_latents=False,
            check_steps=False,
        )
        out = self.folder / "arms" / arm
        made = generate(generator, self.held_out, out, options, variant=arm, steering=steering)
        judges: list[RewardModel] = [self.oracle]
        if arm not in self._guided():
            judges.append(VideoReward.from_pretrained(self.folder / REWARD_NAME))
        scores = [judge_dataset(judge, made, self.held_out).scores for judge in judges]
        return dict(zip((self.oracle.name, REWARD_NAME), (part.tolist() for part in scores), strict=False))

    def _guided(self) -> dict[str, dict[str, float]]:
        """Weights of each steered arm."""
        return {f"guided_{index}": weights for index, weights in enumerate(self.config.weightings)}

    def _arms(self) -> list[str]:
        return ["base", *METHODS, *self._guided()]

    def _results(self, reward: dict[str, Any], judged: dict[str, Any]) -> dict[str, Any]:
        prompts = self._judged_prompts()
        by_oracle, by_reward = (
            {
                arm: compare(judged["base"][judge], scores[judge], prompts, self.oracle.dimensions)
                for arm, scores in judged.items()
                if arm != "base" and judge in scores
            }
            for judge in (self.oracle.name, REWARD_NAME)
        )
        return {
            "seed": self.config.seed,
            "versions": library_versions(),
            "command": f"videoalign quickstart --out {as_given(self.folder)} --seed {self.config.seed}",
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
            "prompts_note": PROMPTS_NOTE,
            "reward": reward,
            "alignment": {method: by_oracle[method] for method in METHODS},
            "headline": headline({method: by_oracle[method] for method in METHODS}),
            "alignment_videoreward": {method: by_reward[method] for method in METHODS},
            "guidance": [
                guidance_entry(
                    {name: weights.get(name, 0.0) for name in self.oracle.dimensions}, by_oracle[f"guided_{i}"]
                )
                for i, weights in enumerate(self.config.weightings)
            ],
        }

    def _judged_prompts(self) -> list[str]:
        """The prompt of each judged clip, in the order of the scores."""
        return [text for text in self.held_out for _ in range(self.config.judged_per_prompt)]

    def _media(self, judged: dict[str, Any]) -> ReportMedia:
        arms = {arm: self._with_scores(arm, judged[arm][self.oracle.name]) for arm in self._arms()}
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
