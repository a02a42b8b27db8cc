"""Full fine-tuning: one copy of the weights, a model that diffusers opens, and what is refused."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import read_lineage
from videoalign.errors import ConfigError, OutputError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import AlignResult, align
from videoalign.recipes.generator.align_methods import DpoConfig, RwrConfig, SftConfig
from videoalign.recipes.generator.dry_run import dry_run
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.training.loop import FitConfig

FIT = FitConfig(num_steps=4, batch_size=3, learning_rate=1e-3, warmup_steps=1, save_every_steps=2)
DPO = DpoConfig(train="full", fit=FIT, beta=50.0, reference_draws=2)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def bytes_of(tensors: object) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)  # type: ignore[attr-defined]


def alive() -> list[torch.Tensor]:
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]


class Held:
    """Bytes of all storages of tensors that are alive after a step and were not there before."""

    def __init__(self) -> None:
        self.most, self.before = 0, alive()  # kept, so that no new storage takes the place of an old one

    def after_step(self, step: int, row: dict[str, float]) -> None:
        old = {one.untyped_storage().data_ptr() for one in self.before}
        found = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in alive()}
        self.most = max(self.most, sum(size for place, size in found.items() if place not in old))


def velocity(generator: PipelineGenerator, texts: list[str]) -> torch.Tensor:
    condition = generator.conditioner.encode(texts)
    x_t = torch.randn(len(texts), *generator.codec.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return generator.network(x_t, torch.linspace(0.2, 0.9, len(texts)), condition)


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


@pytest.fixture(scope="module")
def run(folder: Path, dataset: Dataset, held: Held, tmp_path_factory: pytest.TempPathFactory) -> AlignResult:
    """Flow-DPO on all weights."""
    out = tmp_path_factory.mktemp("full") / "dpo"
    return align("dpo", dataset, open_generator(folder / "model"), "p", out, DPO, callbacks=[held])


def test_a_full_run_holds_one_copy_of_the_weights(folder: Path, run: AlignResult, held: Held) -> None:
    """Beside it, as many bytes of gradients and twice as many of moments; a copy for the reference would be a fifth."""
    weights = bytes_of(load_file(folder / "model" / "transformer" / WEIGHTS).values())
    assert 4 * weights <= held.most < 4.5 * weights


def test_it_starts_at_the_reference_and_learns(run: AlignResult) -> None:
    assert run.history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert run.history[-1]["margin"] > 0.05


def test_what_it_makes_is_a_model_for_diffusers_and_for_every_command(
    folder: Path, dataset: Dataset, run: AlignResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [prompt.text for prompt in dataset.prompts()]
    base, made = open_generator(folder / "model"), open_generator(run.adapter)
    stock = PipelineGenerator(DiffusionPipeline.from_pretrained(run.adapter), made.settings)
    torch.testing.assert_close(velocity(stock, texts), velocity(made, texts), rtol=0, atol=1e-6)
    assert (velocity(made, texts) - velocity(base, texts)).abs().max() > 1e-3
    assert (made.settings, made.conditioner.identity()) == (base.settings, base.conditioner.identity())
    assert not any("FSDP" in file.read_text() for file in run.adapter.rglob("config.json"))
    model, prompts = str(run.adapter), str(folder / "prompts.txt")
    words = ["sample", "--model", model, "--prompt", texts[0], "--out", str(tmp_path / "s"), "num_steps=1"]
    assert main(words) == 0
    compared = ["evaluate", "--base", str(folder / "model"), "--candidate", model, "--judge", "oracle"]
    words = [
        *compared,
        "--prompts",
        prompts,
        "--out",
        str(tmp_path / "e"),
        "num_steps=1",
        "per_prompt=1",
        "height=64",
        "width=64",
    ]
    capsys.readouterr()
    assert main(words) == 2
    assert "was trained on 3 of the 3 prompts" in capsys.readouterr().err
    assert main([*words, "allow_trained_prompts=true"]) == 0


def test_an_adapter_over_it_inherits_what_taught_it(run: AlignResult, dataset: Dataset, tmp_path: Path) -> None:
    other = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    rows = [row for row in other.pairs("p") if row.prompt_id == other.prompts()[0].prompt_id]
    other.write_pairs("few", rows)
    quick = SftConfig(fit=FIT.model_copy(update={"num_steps": 1}))
    further = align("sft", other, open_generator(run.adapter), "few", tmp_path / "a", quick)
    before, after = read_lineage(run.adapter), read_lineage(further.adapter)
    assert before is not None and after is not None
    assert after.prompts == before.prompts and len(after.prompts) == 3


class Stop(Exception):
    pass


class StopAt:
    def after_step(self, step: int, row: dict[str, float]) -> None:
        if step == 3:
            raise Stop


def test_a_stopped_run_ends_with_the_weights_of_the_unbroken_one_and_gives_the_model_back(
    folder: Path, dataset: Dataset, run: AlignResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit; what is not whole is no model."""
    generator, out = open_generator(folder / "model"), tmp_path / "cut"
    before = generator.identity()
    with pytest.raises(Stop):
        align("dpo", dataset, generator, "p", out, DPO, callbacks=[StopAt()])
    assert generator.identity() == before
    save = PipelineGenerator.save_pretrained

    def broken(self: PipelineGenerator, place: Path, **options: object) -> None:
        save(self, place, **options)
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(PipelineGenerator, "save_pretrained", broken)
        align("dpo", dataset, generator, "p", out, DPO)
    assert {place.name for place in out.iterdir()} == {"run.json", "checkpoint", "log.jsonl", "lineage.json"}
    align("dpo", dataset, generator, "p", out, DPO)
    one, other = (load_file(made / "transformer" / WEIGHTS) for made in (run.adapter, out))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_both_transformers_of_two_are_trained_and_saved(tmp_path: Path) -> None:
    """As of Wan 2.2 A14B; and by every method."""
    texts = ["a red circle moves left", "a blue square moves right"]
    sizes = TINY_SIZES.model_copy(update={"boundary": 0.6})
    generator = small_wan_generator(texts, sizes, settings=TINY_SETTINGS, name="two")
    generator.save_pretrained(tmp_path / "model")
    options = GenerateConfig(per_prompt=2, num_steps=1, check_steps=False)
    dataset = generate(generator, texts, tmp_path / "d", options)
    clips = dataset.clips()
    pairs = [
        WinLosePair(prompt_id=a.prompt_id, clip_win=a.clip_id, clip_lose=b.clip_id, reward_win=1.0, reward_lose=0.0)
        for a, b in zip(clips[::2], clips[1::2], strict=True)
    ]
    dataset.write_pairs("p", pairs)
    opened = open_generator(tmp_path / "model")
    before = {part: load_file(tmp_path / "model" / part / WEIGHTS) for part in ("transformer", "transformer_2")}
    for method, kind in (("sft", SftConfig), ("rwr", RwrConfig)):
        config = kind(train="full", fit=FIT.model_copy(update={"num_steps": 2, "batch_size": 4}))
        run = align(method, dataset, opened, "p", tmp_path / method, config)
        for part, weights in before.items():
            made = load_file(run.adapter / part / WEIGHTS)
            moved = [name for name, value in weights.items() if not torch.equal(value, made[name])]
            assert len(moved) > 0.9 * len(weights), "all but buffers and what no gradient reaches"
    stock = DiffusionPipeline.from_pretrained(run.adapter)
    assert type(stock.transformer_2).__name__ == "WanTransformer3DModel"
    assert json.loads((run.adapter / "transformer_2" / "config.json").read_text())["num_layers"] == sizes.num_layers


def test_what_cannot_be_is_refused_in_one_line(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reference_draws: got 0, but train=full keeps no second copy .* encode"):
        DpoConfig(train="full")
    with pytest.raises(ConfigError, match="lora: got a value, but train=full trains no adapter"):
        SftConfig.model_validate({"train": "full", "lora": {"rank": 4}})
    with pytest.raises(ConfigError, match="start: got a value, but train=full .* give as --model"):
        SftConfig(train="full", start=tmp_path)
    half = open_generator(folder / "model", dtype="bfloat16")
    with pytest.raises(ConfigError, match="--dtype: got bfloat16 weights; train=full wants float32"):
        align("sft", dataset, half, "p", tmp_path / "a", SftConfig(train="full", fit=FIT))
    assert not (tmp_path / "a").exists()


def test_a_dry_run_moves_no_weight_and_knows_what_full_fine_tuning_takes(folder: Path, dataset: Dataset) -> None:
    generator = open_generator(folder / "model")
    before = {name: value.clone() for name, value in generator.network.named_parameters()}
    kept = generator.network
    whole = dry_run("dpo", dataset, generator, "p", DPO).cost
    assert all(torch.equal(value, before[name]) for name, value in kept.named_parameters())
    assert whole.weights_bytes == bytes_of(before.values()) and whole.optimizer_bytes == 3 * whole.weights_bytes


def test_another_place_is_not_taken(dataset: Dataset, folder: Path, run: AlignResult) -> None:
    with pytest.raises(OutputError, match="differs in"):
        align("dpo", dataset, open_generator(folder / "model"), "p", run.adapter, DPO.model_copy(update={"beta": 1.0}))
