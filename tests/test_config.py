from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt, ValidationError, model_validator

from videoalign.config import Config
from videoalign.errors import ConfigError, VideoAlignError, did_you_mean


class Optimizer(Config):
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size."""
    warmup_steps: int = 0
    """Steps of linear rise."""


class Trial(Config):
    last_step: int = 0
    """When it ends."""


class Run(Config):
    seed: int
    """Seed of everything."""
    optimizer: Optimizer = Optimizer()
    """How weights move."""
    trial: Trial | None = None
    """A short run first."""
    later: tuple[Trial, ...] = ()
    """More of them."""


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 3\noptimizer:\n  learning_rate: 0.5\n")
    return file


def test_overrides_win_over_the_file_and_the_file_over_defaults(yaml_file: Path) -> None:
    run = Run.load(yaml_file, ["optimizer.warmup_steps=7", "seed=4"])
    assert run == Run(seed=4, optimizer=Optimizer(learning_rate=0.5, warmup_steps=7))


def test_a_group_given_in_part_keeps_what_its_owner_has_for_the_rest(tmp_path: Path) -> None:
    class Fast(Config):
        optimizer: Optimizer = Optimizer(learning_rate=0.1, warmup_steps=9)

    class Outer(Config):
        run: Fast = Fast(optimizer=Optimizer(learning_rate=0.7))

    assert Fast.load(None, ["optimizer.warmup_steps=3"]).optimizer == Optimizer(learning_rate=0.1, warmup_steps=3)
    assert Outer.load(None, ["run.optimizer.warmup_steps=3"]).run.optimizer == Optimizer(
        learning_rate=0.7, warmup_steps=3
    )
    file = tmp_path / "run.yaml"
    file.write_text("optimizer:\n  warmup_steps: 3\n")
    assert Fast.load(file).optimizer.learning_rate == 0.1
    with pytest.raises(ConfigError, match=r"unknown setting 'run.optimizer.warm'"):
        Outer.load(None, ["run.optimizer.warm=3"])


def test_a_file_of_json_means_what_json_means(tmp_path: Path) -> None:
    class Named(Config):
        name: str

    file = tmp_path / "run.json"
    file.write_text('{"name": "\\ud83d\\ude00"}')
    assert Named.load(file).name == "\U0001f600", "one emoji, written as JSON escapes it"


def test_overrides_are_read_as_yaml_values() -> None:
    class Mixed(Config):
        weights: dict[str, float]
        names: list[str]
        share: float
        on: bool

    mixed = Mixed.load(None, ["weights={VQ: 1, TA: 0.5}", "names=[a, b]", "share=1e-2", "on=true"])
    assert mixed == Mixed(weights={"VQ": 1, "TA": 0.5}, names=["a", "b"], share=0.01, on=True)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Run(seed=0).seed = 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sed=1"], "unknown setting 'sed'. Did you mean 'seed'?"),
        (["seed=1", "optimizer.learning_rat=1"], "'optimizer.learning_rat'. Did you mean 'learning_rate'?"),
        (["seed=1", "zzz=1"], "unknown setting 'zzz'. Known: later, optimizer, seed, trial."),
        (["seed=1", "warmup_steps=1"], "unknown setting 'warmup_steps'. Did you mean 'optimizer.warmup_steps'?"),
        (["optimizer.seed=1"], "unknown setting 'optimizer.seed'. Did you mean 'seed'?"),
        (["seed=1", "trial.last_ste=1"], "unknown setting 'trial.last_ste'. Did you mean 'last_step'?"),
        (["seed=1", "later=[{last_ste: 1}]"], "unknown setting 'later.0.last_ste'. Did you mean 'last_step'?"),
        (["seed=1", "last_step=1"], "unknown setting 'last_step'. Did you mean 'trial.last_step'?"),
        ([], "setting 'seed' is required; set it with seed=<value>."),
        (["seed=many"], "setting 'seed' got 'many'"),
        (["seed=1", "optimizer.learning_rate=-1"], "setting 'optimizer.learning_rate' got -1"),
        (["seed"], "override 'seed' must look like key=value."),
        (["=3"], "override '=3' must look like key=value."),
        (["seed=1", "seed.low=2"], "'seed' is a value, not a group of settings."),
    ],
)
def test_a_mistake_is_told_in_one_line_with_the_way_out(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Run.load(None, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_key_in_a_file_names_the_file_and_the_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 1\noptimiser: {}\n")
    with pytest.raises(ConfigError) as caught:
        Run.load(file)
    assert str(caught.value) == f"{file}: unknown setting 'optimiser'. Did you mean 'optimizer'?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"seed: [1", "is not YAML"),
        (b"- 1\n", "must hold 'key: value' lines"),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "run.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Run.load(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_mistake_of_a_user_is_of_one_tree() -> None:
    assert issubclass(ConfigError, VideoAlignError)
    assert did_you_mean("flow_dpo", ["flow-dpo", "sft"]) == " Did you mean 'flow-dpo'?"
    assert did_you_mean("x", ["sft", "dpo"]) == " Known: dpo, sft."


def test_a_setting_of_several_kinds_of_value_is_called_by_its_name_with_all_that_it_takes() -> None:
    class Times(Config):
        shift: Annotated[float, Field(gt=0)] | Literal["model"] = 1.0
        """A number, or the model's own."""
        weights: dict[str, float] = {}
        """By dimension."""
        sizes: tuple[PositiveInt, ...] = ()
        """Of something."""

    wanted = (
        "setting 'shift' got 'modle': Input should be a valid number, .* or Input should be 'model'. Set it with shift="
    )
    with pytest.raises(ConfigError, match=wanted):
        Times.load(None, ["shift=modle"])
    with pytest.raises(ConfigError, match=r"setting 'sizes.1' got 0: .* Set it with sizes=\[<values>\]\."):
        Times.load(None, ["sizes=[1,0]"])
    with pytest.raises(ConfigError, match="setting 'weights.VQ' got 'much': Input should be a valid number"):
        Times.build_from({"weights": {"VQ": "much"}})


def test_what_a_group_has_wrong_as_a_whole_is_said_in_its_own_words() -> None:
    class Queue(Config):
        most: int = 4
        """Places."""
        taken: int = 1
        """Of them."""

        @model_validator(mode="after")
        def _fits(self) -> Queue:
            if self.taken > self.most:
                raise ValueError(f"taken: got {self.taken}; wanted at most {self.most}.")
            return self

    class Server(Config):
        queue: Queue = Queue()
        """Who waits."""

    with pytest.raises(ConfigError, match=r"^overrides: taken: got 5; wanted at most 4\.$"):
        Queue.load(None, ["taken=5"])
    with pytest.raises(ConfigError, match=r"^overrides: queue: taken: got 5; wanted at most 4\.$"):
        Server.load(None, ["queue.taken=5"])
    with pytest.raises(
        ConfigError, match=r"'queue' got 5: wanted settings of its own, .* with queue\.<name>=<value>\.$"
    ):
        Server.load(None, ["queue=5"])


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", '{"seed": 1, "seed": 2}', "seed: 1\nx: {seed: 1, seed: 2}\n"])
def test_a_name_that_stands_twice_in_a_file_is_refused(tmp_path: Path, text: str) -> None:
    """Neither of the two can be meant to count for nothing."""
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml: is not YAML: 'seed' stands twice .*line \d"):
        Run.load(file)
    file.write_text("base: &b {learning_rate: 1}\noptimizer: {<<: *b, learning_rate: 2}\n")
    with pytest.raises(ConfigError, match="unknown setting 'base'"):  # what is merged in may be said anew
        Run.load(file)


class Numbers(Config):
    count: int = 1
    """A whole number."""
    share: float | None = None
    """A number or nothing."""
    weights: dict[str, float] = {}
    """Numbers by name."""
    mode: bool | int = False
    """A switch or a number."""


@pytest.mark.parametrize("override", ["count=true", "share=off", "weights={VQ: yes}", "weights.VQ=true"])
def test_true_and_false_are_no_numbers(override: str) -> None:
    name = override.partition("=")[0].partition(".")[0]
    with pytest.raises(ConfigError, match=rf"setting '{name}' got .*(true|false).*, wanted a number"):
        Numbers.load(None, [override])
    assert Numbers.load(None, ["mode=true", "count=2", "share=1"]).mode is True


def test_of_a_group_it_is_told_which_setting_got_true() -> None:
    with pytest.raises(ConfigError, match=r"optimizer: setting 'warmup_steps' got true, wanted a number\."):
        Run.load(None, ["seed=1", "optimizer.warmup_steps=true"])
