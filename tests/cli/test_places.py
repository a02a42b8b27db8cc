"""Options that name a place: a folder may be at an address, a file is here or arrives as it was written."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pytest
import typer

from videoalign.cli import places
from videoalign.cli.main import build_app, main
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.stores.opening import Request, asked_for
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.score.settings import ServeSettings

ADDRESSES = ("s3://bucket/folder/x.csv", "https://example.org/x.csv", "hf://datasets/me/x.csv")


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a command."""

    command: tuple[str, ...]
    name: str
    """As the user writes it; of an argument its metavar."""
    kinds: frozenset[type]
    info: Any
    before: tuple[str, ...]
    """What has to stand before it."""

    def __str__(self) -> str:
        return " ".join([*self.command, self.name])


def commands(app: typer.Typer, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[..., None]]]:
    for command in app.registered_commands:
        yield (*above, command.name), command.callback
    for group in app.registered_groups:
        yield from commands(group.typer_instance, (*above, group.name))


def kinds_in(hint: Any) -> set[type]:
    inner = typing.get_args(hint)
    return {kind for part in inner for kind in kinds_in(part)} if inner else {hint}


def parameters() -> Iterator[Parameter]:
    for command, callback in commands(build_app()):
        hints, before = typing.get_type_hints(callback, include_extras=True), ()
        for name in inspect.signature(callback).parameters:
            if typing.get_origin(hints[name]) is not Annotated:
                continue
            hint, info = typing.get_args(hints[name])[:2]
            is_argument = isinstance(info, typer.models.ArgumentInfo)
            told = info.metavar if is_argument else (*info.param_decls, f"--{name.replace('_', '-')}")[0]
            yield Parameter(command, told, frozenset(kinds_in(hint)), info, before)
            before = (*before, "x") if is_argument else before


PATHS = [parameter for parameter in parameters() if Path in parameter.kinds]
FOLDERS = (
    places.read_folder,
    places.read_dataset,
    places.grown_dataset,
    places.latents_dataset,
    places.made_folder,
)
"""Parsers of folders, which may be at an address; in one order, for workers must collect the same tests."""
FILES = [parameter for parameter in PATHS if parameter.info.parser not in FOLDERS]


def test_every_command_is_walked() -> None:
    found = {parameter.command for parameter in parameters()}
    assert {("data", "import"), ("reward", "score"), ("annotate", "invite"), ("quickstart",)} <= found
    assert len(PATHS) > 40
    folders = {parameter.command for parameter in PATHS if parameter.info.parser in FOLDERS}
    told = "generate, sample, pairs, encode, align, evaluate, quickstart, rounds, status, plan, studio"
    assert folders >= {(name,) for name in told.split(", ")}
    assert folders >= {("data", name) for name in ("import", "merge", "export", "check", "stats", "split", "card")}
    assert folders >= {("reward", name) for name in ("train", "score", "eval", "probe")} | {("guide", "train")}


def test_a_model_or_a_judge_may_be_at_an_address_in_every_command() -> None:
    told = ("--model", "--base", "--judge", "--guide", "--adapter", "--against", "R", "R|oracle")
    models = [parameter for parameter in parameters() if parameter.name in told]
    assert len(models) > 25
    assert {one.info.parser for one in models} <= {places.read_model, places.read_folder}, [*map(str, models)]


def test_a_folder_is_not_on_the_web() -> None:
    with pytest.raises(typer.BadParameter, match="an address of the web, which has no folders"):
        places.read_folder(ADDRESSES[1])


@pytest.mark.parametrize("parser", [places.local_path, *FOLDERS])
def test_nothing_is_not_the_folder_that_one_is_in(parser: Callable[[str], Path]) -> None:
    for text in ("", " "):
        with pytest.raises(typer.BadParameter, match="got nothing; give a path"):
            parser(text)
    assert parser(".") == Path()


def test_an_output_without_a_name_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "--model", "sprites", "--prompts", "p.txt", "--out", ""]) == 2
    assert "Invalid value for '--out': got nothing" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_model_and_its_adapter_may_be_at_addresses_both() -> None:
    def place(address: str) -> str:
        return str(Request(address).path)

    model, adapter = "s3://b/some/model", "gs://b/an/adapter"
    assert places.read_model_with_adapter("sprites:a/b") == "sprites:a/b"
    assert places.read_model_with_adapter(f"sprites:{adapter}") == f"sprites:{place(adapter)}"
    assert places.read_model_with_adapter(f"{model}:{adapter}") == f"{place(model)}:{place(adapter)}"
    assert [one.address for one in asked_for()] == [adapter, model, adapter]


@pytest.mark.parametrize("parameter", FILES, ids=str)
def test_a_path_refuses_an_address_in_one_line_that_names_the_option(
    parameter: Parameter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parameter.info.parser is places.local_path, "give it a parser of cli.places, or make it a str"
    option = [] if isinstance(parameter.info, typer.models.ArgumentInfo) else [parameter.name]
    for address in ADDRESSES:
        words = [*parameter.command, *([] if option else parameter.before), *option, address]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"Invalid value for '{parameter.name}'" in said
        assert f"{address} is an address, wanted a path on this machine" in said


def test_an_address_of_this_machine_is_its_path(tmp_path: Path) -> None:
    for parser in (places.local_path, *FOLDERS):
        assert parser(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
        assert parser("a/b") == parser(Path("a/b")) == Path("a/b")


@pytest.mark.parametrize("settings", [DpoConfig, AnnotateSettings, ServeSettings])
def test_a_setting_that_is_a_path_refuses_an_address_too(settings: Any) -> None:
    (name,) = {"start", "access_log"} & settings.model_fields.keys()
    with pytest.raises(ConfigError, match=f"'{name}'.*s3://b/x is an address, wanted a path on this machine"):
        settings.load(None, [f"{name}=s3://b/x"])
    assert getattr(settings.load(None, [f"{name}=a/b"]), name) == Path("a/b")


@pytest.fixture
def remote() -> Iterator[str]:
    """A folder somewhere else, with prompts."""
    system = fsspec.filesystem("memory")
    system.pipe("/there/prompts.txt", b"a red circle\na blue square\n")
    yield "memory://there"
    system.rm("/there", recursive=True)


def test_prompts_and_clips_may_be_at_an_address(
    remote: str, tmp_path: Path, make_clip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("prompt,clip_a,clip_b,VQ\na red circle,a.mp4,b.mp4,A\n", encoding="utf-8")
    for tint, name in enumerate(("a.mp4", "b.mp4")):
        content = make_clip(tmp_path / name, tint=tint).read_bytes()
        fsspec.filesystem("memory").pipe(f"/there/clips/{name}", content)
        (tmp_path / name).unlink()
    out = tmp_path / "d"
    assert main(["data", "import", "pairs", str(table), "--clips", f"{remote}/clips", "--out", str(out)]) == 0
    assert [clip.path for clip in Dataset.open(out).clips()] == [f"{remote}/clips/a.mp4", f"{remote}/clips/b.mp4"]
    capsys.readouterr()
    assert main(["data", "check", str(out), "--benchmark-prompts", f"{remote}/prompts.txt", "--json"]) == 2
    assert f"stands in {remote}/prompts.txt" in capsys.readouterr().out
    words = ["--prompts", f"{remote}/prompts.txt", "--out", str(tmp_path / "made")]
    assert main(["generate", "--model", f"{remote}/model", *words]) == 2
    said = capsys.readouterr()
    assert f"{remote}/prompts.txt: 2 prompts" in said.out
    assert f"{remote}/model holds no model_index.json" in said.err and said.err.count("\n") == 1
    arms = ["--base", "sprites", "--candidate", f"{remote}/model", "--judge", "oracle"]
    assert main(["evaluate", *arms, *words]) == 2
    assert f"{remote}/model holds no model_index.json" in capsys.readouterr().err


def test_the_home_folder_is_meant_also_where_the_shell_leaves_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert places.made_folder("~/d") == places.local_path("~/d") == tmp_path / "d"
    (tmp_path / "~").mkdir()
    assert places.made_folder("~/d") == Path("~/d")


@pytest.mark.parametrize("parser", [places.made_folder, places.local_path, places.read_dataset])
def test_a_link_that_leads_back_to_itself_is_told(parser: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in (tmp_path / "loop", tmp_path / "loop" / "t.csv"):
        with pytest.raises(typer.BadParameter, match="is a link that leads back to itself; give another path"):
            parser(str(place))


@pytest.mark.parametrize("address", ["s3://", "gs://", "hf://", "s3:///d"])
def test_an_address_without_a_bucket_is_told_and_no_folder_made(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.BadParameter, match="names no bucket and no repository"):
        places.made_folder(address)
    assert asked_for() == [] and not list(tmp_path.iterdir())
