from __future__ import annotations

import pytest

from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.sprite_weights.measure_base import COLUMNS, MeasureBaseConfig, measure_all, measure_base
from videoalign.worlds.sprites.oracle import Oracle, attribute_fits
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES


def test_the_shares_and_means_are_those_of_the_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    few = HELD_OUT_SENTENCES[::9]
    assert len(few) == 4
    monkeypatch.setattr("videoalign.recipes.sprite_weights.measure_base.HELD_OUT_SENTENCES", few)
    generator, config = open_generator("sprites"), MeasureBaseConfig(per_prompt=1, batch_size=4, seed=3)
    row = measure_base(generator, config, 1.0)
    texts = [sentence.text() for sentence in few]
    videos = generator.sample(texts, [3 * 4 + number for number in range(4)], guidance_scale=1.0)
    fits = [attribute_fits(video.frames, sentence) for video, sentence in zip(videos, few, strict=True)]
    scores = Oracle().score_videos(videos, texts)
    for number, name in enumerate(("colour", "shape", "motion")):
        assert row[name] == pytest.approx(sum(fit[number] > 0.5 for fit in fits) / 4)
    assert [row[name] for name in ("VQ", "MQ", "TA")] == pytest.approx(scores.mean(0).tolist())
    assert [sum(fit) / 3 for fit in fits] == pytest.approx(scores[:, 2].tolist())


def test_the_table_has_a_row_for_each_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "videoalign.recipes.sprite_weights.measure_base.measure_base",
        lambda generator, config, scale: dict.fromkeys(COLUMNS, scale / 4),
    )
    lines = measure_all(MeasureBaseConfig(guidance_scales=(1.0, 2.5))).splitlines()
    assert lines[2:] == [
        "| 1 | 25% | 25% | 25% | 0.25 | 0.25 | 0.25 |",
        "| 2.5 | 62% | 62% | 62% | 0.62 | 0.62 | 0.62 |",
    ]
    assert len({line.count("|") for line in lines}) == 1
