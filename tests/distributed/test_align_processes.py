"""Alignment and the latent reward in several processes, by the variables that torchrun and accelerate set."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.distributed import join
from videoalign.errors import ConfigError
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.training.checkpoint import RunLog

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model`` and ``data`` with pairs ``p`` and scores ``judge``; nothing is encoded yet."""
    root = tmp_path_factory.mktemp("together")
    generator = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, name="tiny")
    generator.save_pretrained(root / "model")
    experts = TINY_SIZES.model_copy(update={"boundary": 0.7})
    small_wan_generator(TEXTS, experts, settings=TINY_SETTINGS, name="tiny").save_pretrained(root / "experts")
    dataset = generate(generator, TEXTS, root / "data", GenerateConfig(per_prompt=4, num_steps=1, keep_latents=False))
    clips = [clip.clip_id for clip in dataset.clips()]
    prompts = [clip.prompt_id for clip in dataset.clips()]
    dataset.write_pairs(
        "p",
        [
            WinLosePair(
                prompt_id=prompts[k], clip_win=clips[k], clip_lose=clips[k + 1], reward_win=1.0, reward_lose=0.0
            )
            for k in range(0, len(clips), 2)
        ],
    )
    values = [{name: float((3 * k) % 7) for name in ("VQ", "MQ", "TA")} for k in range(len(clips))]
    dataset.write_scores(
        "judge", [{"clip_id": c, "raw": v, "normalised": v} for c, v in zip(clips, values, strict=True)]
    )
    return root


HERE = Path(__file__).parent
launch = runpy.run_path(str(HERE / "launching.py"))["launch"]


def told_by(config: str) -> dict[str, str]:
    """What ``accelerate launch`` tells processes of a file in examples/accelerate, by its own code."""
    file = HERE.parents[1] / "examples" / "accelerate" / config
    words = ["--config_file", str(file), "-m", "videoalign.cli.main", "align"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    found = prepare_multi_gpu_env(args)
    return {name: value for name, value in found.items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def run_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The same in this process."""
    assert main(words) == 0
    return capsys.readouterr().out


ALONE: dict[str, str] = {}
"""What torchrun tells besides the number of processes."""

FIT = ["fit.num_steps=4", "fit.learning_rate=3e-3", "fit.warmup_steps=1", "fit.save_every_steps=2"]


def align(folder: Path, draws: int) -> list[str]:
    words = ["align", "dpo", str(folder / "data"), "--model", str(folder / "model"), "--pairs", "p", *FIT]
    return [*words, "lora.rank=4", "beta=50", f"reference_draws={draws}", "--out"]


LONG = ["fit.num_steps=20", "fit.warmup_steps=2", "beta=50", "ema=0.5"]


def align_long(folder: Path, kind: str, *more: str) -> list[str]:
    """Twenty steps of eight pairs: an adapter against the live reference, or all weights against the cached one."""
    what = {
        "lora": ["fit.learning_rate=1e-4", "lora.rank=4"],
        "full": ["fit.learning_rate=1e-4", "train=full", "reference_draws=3"],
    }[kind]
    words = ["align", "dpo", str(folder / "data"), "--model", str(folder / "model"), "--pairs", "p", *LONG]
    return [*words, *what, *more, "--out"]


def align_two_experts(folder: Path) -> list[str]:
    words = ["align", "sft", str(folder / "data"), "--model", str(folder / "experts"), "--pairs", "p", "train=full"]
    return [*words, "fit.num_steps=3", "fit.learning_rate=1e-3", "fit.warmup_steps=0", "--out"]


def train_guide(folder: Path) -> list[str]:
    words = ["guide", "train", str(folder / "data"), "--model", str(folder / "model"), "--reward", "judge", *FIT]
    return [*words, "--out"]


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """What two processes printed that made all that is named ``two``, ``copies`` and ``shared``."""
    shared = told_by("fsdp2.yaml")
    aligned = [(ALONE, [*align(folder, draws), str(folder / f"two-{draws}"), "fit.batch_size=2"]) for draws in (0, 2)]
    guide = (ALONE, [*train_guide(folder), str(folder / "guide-two"), "fit.batch_size=1"])
    copies = (told_by("ddp.yaml"), [*align_long(folder, "lora"), str(folder / "copies-lora"), "fit.batch_size=4"])
    lora = (shared, [*align_long(folder, "lora"), str(folder / "shared-lora"), "fit.batch_size=4"])
    half = ["fit.batch_size=4", "fit.num_steps=10"]
    full = (shared, [*align_long(folder, "full"), str(folder / "shared-full"), *half])
    experts = (shared, [*align_two_experts(folder), str(folder / "shared-experts"), "fit.batch_size=1"])
    return launch(2, [*aligned, guide, copies, lora, full, experts], folder)


@pytest.fixture(scope="module")
def alone(folder: Path, told: str) -> dict[str, Path]:
    """The same in one process, where latents and reference errors are those that two have made."""
    made = {kind: folder / f"alone-{kind}" for kind in ("lora", "full", "experts")}
    for kind in ("lora", "full"):
        assert main([*align_long(folder, kind), str(made[kind]), "fit.batch_size=8"]) == 0
    assert main([*align_two_experts(folder), str(made["experts"]), "fit.batch_size=2"]) == 0
    return made


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = [*out.glob("adapter_model.safetensors"), *out.glob("transformer*/diffusion_pytorch_model.safetensors")]
    return {f"{file.parent.name}.{name}": value for file in sorted(files) for name, value in load_file(file).items()}


def gap(one: Path, other: Path) -> float:
    mine, wanted = ({n.partition(".")[2]: v for n, v in weights(out).items()} for out in (one, other))
    assert mine.keys() == wanted.keys() and len(mine) > 10
    return max(float((mine[name] - value).abs().max()) for name, value in wanted.items())


@pytest.mark.parametrize("way", ["copies", "shared"])
def test_two_processes_end_twenty_steps_of_an_adapter_as_one_does(
    folder: Path, alone: dict[str, Path], way: str
) -> None:
    """With copies and with FSDP2; their times, noise and live reference are drawn at every step."""
    out = folder / f"{way}-lora"
    assert gap(out, alone["lora"]) < 1e-5
    rows, wanted = (RunLog(place / "log.jsonl").rows() for place in (out, alone["lora"]))
    for row, other in zip(rows, wanted, strict=True):
        signs = {name for name in row if name.startswith("implicit_accuracy")}  # of margins, some of them near 0
        assert row["implicit_accuracy"] == pytest.approx(other["implicit_accuracy"], abs=0.126), "one pair of eight"
        alike = {"seconds": 0, **{name: other[name] for name in signs}}
        assert row | alike == pytest.approx(other | {"seconds": 0}, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_what_two_processes_saved_of_shared_weights_goes_on_in_one_and_in_four(
    folder: Path, alone: dict[str, Path], tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(folder / "shared-full", folder / f"on-{count}"))
    words = [*align_long(folder, "full"), str(out), f"fit.batch_size={8 // count}"]
    if count == 1:
        assert main(words) == 0
    else:
        launch(count, [(told_by("fsdp2.yaml"), words)], tmp_path)
    assert [row["step"] for row in RunLog(out / "log.jsonl").rows()] == list(range(1, 21))
    assert gap(out, alone["full"]) < 1e-5
    config = json.loads((out / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "WanTransformer3DModel"


def test_two_experts_of_which_a_process_may_see_one_train_as_in_one_process(
    folder: Path, alone: dict[str, Path]
) -> None:
    assert gap(folder / "shared-experts", alone["experts"]) < 1e-5


@pytest.mark.parametrize(
    "config", sorted(file.name for file in (HERE.parents[1] / "examples" / "accelerate").iterdir())
)
def test_files_for_accelerate_are_read_and_accepted(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in told_by(config).items():
        monkeypatch.setenv(name, value)
    assert join(may_share_weights=True).count == 1
    if config == "fsdp2.yaml":
        with pytest.raises(ConfigError, match="distributed_type: got FSDP, which 'align' alone can do"):
            join()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16", r"mixed_precision: accelerate says 'bf16'.* set fit.dtype=bfloat16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "gradient_accumulation_steps: .* fit.accumulate_steps"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "distributed_type: got DEEPSPEED, which is not supported; wanted"),
        ("FSDP_VERSION", "1", "fsdp_version: got 1; wanted 2"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing: .* gradient_checkpointing=true"),
    ],
)
def test_what_a_launcher_sets_and_would_not_take_effect_is_refused(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, told in (told_by("fsdp2.yaml") | {variable: value}).items():
        monkeypatch.setenv(name, told)
    with pytest.raises(ConfigError, match=message):
        join(may_share_weights=True)


@pytest.mark.parametrize("draws", [0, 2])
def test_align_in_two_processes_is_align_in_one(
    folder: Path, told: str, draws: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both in one folder, which nobody else writes into: one log, one checkpoint, one adapter."""
    words, one, two = align(folder, draws), folder / f"one-{draws}", folder / f"two-{draws}"
    assert told.count(f"{two}: 6 pairs, ") == 1, "the first process tells"
    assert run_one([*words, str(one), "fit.batch_size=4"], capsys).count("pairs, ") == 1
    rows, wanted = (RunLog(out / "log.jsonl").rows() for out in (two, one))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, other in zip(rows, wanted, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=2e-3, abs=1e-5)
    mine, other = (load_file(out / "adapter_model.safetensors") for out in (two, one))
    for name, value in other.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=3e-4)
    run_one([*words, str(two), "fit.batch_size=4", "fit.num_steps=6"], capsys)  # goes on in one process
    assert [row["step"] for row in RunLog(two / "log.jsonl").rows()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("told")
def test_guide_train_in_two_processes_is_guide_train_in_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its log: weights whose gradient is nothing but rounding, as the bias of a difference, wander by the rate."""
    one, two = folder / "guide-one", folder / "guide-two"
    run_one([*train_guide(folder), str(one), "fit.batch_size=2"], capsys)
    assert all((out / "model.safetensors").is_file() for out in (one, two))
    rows, wanted = (RunLog(out / "log.jsonl").rows() for out in (two, one))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, other in zip(rows, wanted, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["encode", "{data}", "--model", "{model}", "--pairs", "p"],
        ["generate", "--model", "{model}", "--prompts", "{prompts}", "--out", "{out}"],
        ["sample", "--model", "{model}", "--prompt", "a red circle", "--out", "{out}"],
        ["reward", "score", "{out}", "--dataset", "{data}"],
        ["quickstart", "--out", "{out}"],
    ],
)
def test_commands_for_one_process_are_refused_in_one_line_before_anything_is_made(
    folder: Path,
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {name: str(folder / name) for name in ("data", "model", "prompts")} | {"out": str(tmp_path / "out")}
    before = sorted(folder.rglob("*"))
    command = [word.format(**places) for word in words]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "runs in one process, but 2 were started" in line
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2 and capsys.readouterr().err == ""  # the first process has said it
    assert sorted(folder.rglob("*")) == before and not (tmp_path / "out").exists()
