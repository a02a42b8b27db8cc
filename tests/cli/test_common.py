"""What commands share means the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videoalign.cli.common import load_config, parse_names, parse_weights, print_json, print_table
from videoalign.cli.watching import progress
from videoalign.config import Config
from videoalign.errors import ConfigError


class Settings(Config):
    """For the tests."""

    steps: int = 1
    """Steps."""
    names: tuple[str, ...] = ()
    """Names."""


def test_flags_win_over_overrides_and_overrides_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("steps: 2\nnames: [a]\n")
    assert load_config(Settings, file, None).steps == 2
    assert load_config(Settings, file, ["steps=3"]).steps == 3
    assert load_config(Settings, file, ["steps=3"], steps=4, names=None) == Settings(steps=4, names=("a",))
    assert load_config(Settings, None, [], names=["x", "y z"]).names == ("x", "y z")


def test_misspelt_setting_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("stpes: 2\n")
    with pytest.raises(ConfigError, match=r"s\.yaml: unknown setting 'stpes'\. Did you mean 'steps'\?"):
        load_config(Settings, tmp_path / "s.yaml", None)


def test_weights_and_names() -> None:
    assert parse_weights("VQ=1, MQ = 0.5") == {"VQ": 1.0, "MQ": 0.5}
    assert parse_weights(None) is None
    assert parse_names("a, b,c") == ["a", "b", "c"]
    for text in ("VQ", "VQ=", "VQ=much", "=1"):
        with pytest.raises(ConfigError, match="must look like NAME=NUMBER"):
            parse_weights(text)
    with pytest.raises(ConfigError, match="--weights: 'VQ' stands twice in 'VQ=1, VQ=2'"):
        parse_weights("VQ=1, VQ=2")


def test_json_alone_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("work", 2) as advance:
        advance()
        advance()
    print_json({"value": 0.5})
    assert json.loads(capsys.readouterr().out) == {"value": 0.5}


def test_json_never_holds_nan() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        print_json({"value": float("nan")})


def test_table_shows_three_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["dimension", "rate"], [["VQ", 0.51237], ["MQ", 2]], title="Rates")
    text = capsys.readouterr().out
    assert "0.512" in text
    assert "0.5123" not in text
    assert "2" in text
