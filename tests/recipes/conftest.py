from __future__ import annotations

import numpy as np
import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Judgement, Prompt, Rating
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.video.files import write_video

LABELS = ("A", "B", "tie", "both_bad", "invalid")


@pytest.fixture(scope="session")
def judged_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight prompts, two of them held out, with three noisy clips each of 6 to 17 frames, judged by three raters."""
    rng = np.random.default_rng(0)
    dataset = Dataset.create(tmp_path_factory.mktemp("judged") / "data", DatasetInfo())
    prompts, clips, judgements, ratings = [], [], [], []
    (dataset.path / "clips").mkdir()
    for p in range(8):
        prompts.append(Prompt(prompt_id=f"p{p}", text=f"a red circle {p} moves", split="val" if p > 5 else "train"))
        names = [f"p{p}c{c}" for c in range(3)]
        for name in names:
            num = int(rng.integers(6, 18))
            path = f"clips/{name}.mp4"
            frames = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
            write_video(dataset.path / path, Video(frames, 8.0))
            about = {"fps": 8.0, "num_frames": num, "height": 32, "width": 32}
            clips.append(Clip(clip_id=name, prompt_id=f"p{p}", path=path, **about))
            ratings.append(Rating(clip_id=name, rater="r", dimension="VQ", score=float(rng.integers(1, 6))))
        for a, b in ((0, 1), (0, 2), (1, 2)):
            for dimension in dataset.dimensions:
                for rater in "xyz":
                    label = str(rng.choice(LABELS, p=[0.4, 0.3, 0.15, 0.1, 0.05]))
                    judgements.append(
                        Judgement(
                            prompt_id=f"p{p}",
                            clip_a=names[a],
                            clip_b=names[b],
                            rater=rater,
                            dimension=dimension,
                            label=label,
                        )
                    )
    dataset.add(prompts=prompts, clips=clips, judgements=judgements, ratings=ratings)
    return dataset
