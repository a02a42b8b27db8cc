"""A merged model does what base and adapter do, in a process that has diffusers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.models.generators.small_pipelines import TEXTS, build
from videoalign.cli.main import main
from videoalign.data.lineage import Lineage, Teacher, read_lineage, write_lineage
from videoalign.errors import ModelError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import add_adapters, save_adapters
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.merge import merge


def made(kind: str) -> PipelineGenerator:
    if kind == "A14B":
        sizes = TINY_SIZES.model_copy(update={"boundary": 0.6})
        return small_wan_generator(TEXTS, sizes, settings=TINY_SETTINGS, name="tiny")
    return PipelineGenerator(build(kind), name="tiny")


@pytest.mark.parametrize("kind", ["A14B", "MochiPipeline"])
def test_a_merged_model_is_base_and_adapter_and_opens_in_diffusers(kind: str, tmp_path: Path, capsys: object) -> None:
    generator, draws = made(kind), torch.Generator().manual_seed(1)
    generator.save_pretrained(tmp_path / "base")
    with torch.no_grad():
        for value in add_adapters(generator.network, LoraSettings(rank=3, alpha=5, targets="attention+ffn")).values():
            value.copy_(0.2 * torch.randn(value.shape, generator=draws))
    save_adapters(generator.network, tmp_path / "a", generator.identity())
    words = [
        "adapter",
        "merge",
        str(tmp_path / "a"),
        "--model",
        str(tmp_path / "base"),
        "--out",
        str(tmp_path / "whole"),
    ]
    assert main(words) == 0
    assert main(words) == 2, "a folder that is there is not written over"
    assert main(["adapter", "export", str(tmp_path / "a"), "--out", str(tmp_path / "c.safetensors")]) == 0
    exported = sorted(file.name for file in tmp_path.glob("c*.safetensors"))
    assert exported == ["c.safetensors", "c_transformer_2.safetensors"][: len(generator.network.transformers)]
    stock, merged = DiffusionPipeline.from_pretrained(tmp_path / "whole"), open_generator(tmp_path / "whole")
    assert type(stock).__name__ == type(generator.pipeline).__name__
    base = open_generator(tmp_path / "base")
    x = torch.stack([generator.sampler.noise(0), generator.sampler.noise(1)])
    condition, t = generator.conditioner.encode(TEXTS), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        wanted, found, plain = (one.network(x, t, condition) for one in (generator, merged, base))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert (plain - wanted).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-2, "both experts moved"
    for part, transformer in merged.network.transformers.items():
        theirs = dict(getattr(stock, part).named_parameters())
        for name, value in transformer.named_parameters():
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=0)


def test_a_merged_model_tells_what_taught_base_and_adapter_and_a_file_what_its_folder_does(tmp_path: Path) -> None:
    generator = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, name="tiny")
    generator.save_pretrained(tmp_path / "base")
    write_lineage(tmp_path / "base", "align sft", [Teacher(name="r", digest="1")], ["q"])
    add_adapters(generator.network, LoraSettings(rank=3))
    save_adapters(generator.network, tmp_path / "a", generator.identity())
    merge(tmp_path / "base", tmp_path / "a", tmp_path / "untold")
    assert read_lineage(tmp_path / "untold") == read_lineage(tmp_path / "base")
    write_lineage(tmp_path / "a", "align dpo", [Teacher(name="s", digest="2")], ["p"])
    file = tmp_path / "a" / "pytorch_lora_weights.safetensors"
    merge(tmp_path / "base", file, tmp_path / "whole")
    both = Teacher(name="s", digest="2"), Teacher(name="r", digest="1")
    assert read_lineage(tmp_path / "whole") == Lineage(method="align dpo", teachers=both, prompts=("p", "q"))
    assert read_lineage(file) == read_lineage(tmp_path / "a")
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="was trained on 'tiny'"):
        open_generator(tmp_path / "other", file)
