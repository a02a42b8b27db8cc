"""Searches by name, from the command line and into a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.generator.test_clip_keys import QUICK, TEXT
from videoalign.cli.main import main
from videoalign.errors import ConfigError
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import generate, open_generator
from videoalign.recipes.generator.steering import Steer


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("searches")
    generator = small_wan_generator([TEXT], TINY_SIZES, settings=TINY_SETTINGS.changed({"height": 64, "width": 64}))
    generator.save_pretrained(root / "model")
    transformer = generator.network.transformers["transformer"]
    LatentRewardModel.from_transformer(transformer, ["VQ", "MQ"], num_blocks=1).save_pretrained(root / "guide")
    return root


def test_every_search_and_all_that_decides_it_makes_clips_of_its_own(root: Path) -> None:
    generator = open_generator(root / "model")
    guide, weights = root / "guide", {"VQ": 1.0}
    asked = (
        Steer(guide=guide, weights=weights),
        Steer(guide=guide, weights=weights, hold="others"),
        Steer(way="early-best", guide=guide, weights=weights, candidates=2),
        Steer(way="early-best", guide=guide, weights=weights, candidates=3),
        Steer(way="particles", guide=guide, weights=weights, candidates=2),
        Steer(way="particles", guide=guide, weights=weights, candidates=2, strength=3.0),
        Steer(way="best-of-n", judge="oracle", weights=weights, candidates=2),
    )
    for number, steer in enumerate(asked):
        for _ in range(2):
            steering = steer.open(generator)
            assert steering is not None
            dataset = generate(generator, [TEXT], root / "d", QUICK, variant=steering.name, steering=steering)
            assert len(dataset.clips()) == number + 1
        assert dataset.clips()[-1].generator.endswith("guide" if number < 2 else str(steer.way))
    assert Steer().open(generator) is None


def test_weights_that_are_left_out_are_equal_and_sum_to_one(root: Path) -> None:
    generator = open_generator(root / "model")
    both = {"VQ": 0.5, "MQ": 0.5}
    for way in ("nrg", "early-best", "particles"):
        steering = Steer(way=way, guide=root / "guide").open(generator)
        assert steering is not None and steering.identity["weights"] == both


def test_the_command_line_samples_by_search_and_refuses_what_does_not_fit(root: Path, capsys) -> None:
    common = ["sample", "--model", str(root / "model"), "--prompt", TEXT, "num_steps=2", "--out"]
    guide = ["--guide", str(root / "guide")]
    assert main([*common, str(root / "s"), "--steer", "early-best", "--candidates", "2", *guide]) == 0
    assert len(list((root / "s").glob("*.mp4"))) == 1
    for number, (given, said) in enumerate(
        (
            (["--steer", "early"], "--steer: there is no way 'early'."),
            (["--steer", "particles"], "--steer particles: asks a reward, but there is no --guide"),
            (["--steer", "best-of-n", *guide], "--steer best-of-n: asks a reward, but there is no --judge"),
            ([*guide, "--judge", "oracle"], "--steer nrg: asks --guide alone; leave --judge out."),
            (["--steer", "early-best", *guide, "--candidates", "0"], "--candidates: got 0; wanted 1 to 1024."),
            (["--steer", "early-best", *guide, "--candidates", "1025"], "--candidates: got 1025; wanted 1 to 1024."),
            (
                ["--steer", "early-best", *guide, "--strength", "2"],
                "--strength: got 2, which --steer early-best does not",
            ),
            (["--strength", "2"], "--strength: got 2, which is for steering; leave it out, or give --steer nrg or par"),
            ([*guide, "--candidates", "2"], "--candidates: got 2, which --steer nrg does not read; leave it out"),
            ([*guide, "--weights", "VQ=1,VQ=2"], "--weights: 'VQ' stands twice in 'VQ=1,VQ=2'; give each"),
            ([*guide, "--strength", "1e300"], "pixels of a clip are no numbers"),
            ([*guide, "--hold", "all", "--weights", "VQ=1"], "--hold: got 'all'; wanted others, or nothing."),
            ([*guide, "--hold", "others"], "--hold others: is for --guide with --weights of some dimensions"),
            ([*guide, "--hold", "others", "--weights", "VQ=1,MQ=1"], "every dimension has a weight"),
        )
    ):
        assert main([*common, str(root / f"bad{number}"), *given]) == 2
        assert said in capsys.readouterr().err
        assert not (root / f"bad{number}").exists()


def test_a_way_must_have_its_reward() -> None:
    assert Steer(guide=Path("guide")).way == "nrg"
    assert Steer(way="best-of-n", judge="oracle").way == "best-of-n"
    with pytest.raises(ConfigError, match="Did you mean 'particles'"):
        Steer(way="particle", guide=Path("guide"))
