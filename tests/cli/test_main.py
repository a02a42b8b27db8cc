"""The one place where errors end."""

from __future__ import annotations

import pytest
import typer

import videoalign.cli.main
from videoalign.cli.main import main
from videoalign.errors import DataError


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> int:
    """Runs a command that raises."""

    def build() -> typer.Typer:
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.callback()
        def root() -> None:
            pass

        @app.command()
        def go() -> None:
            if error is not None:
                raise error

        return app

    monkeypatch.setattr(videoalign.cli.main, "build_app", build)
    return main(["go"])


def test_success_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(monkeypatch, None) == 0


def test_a_users_mistake_is_one_line_and_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, DataError("t.csv:3: bad\n  over two lines")) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: t.csv:3: bad over two lines\n"
    assert captured.out == ""


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(monkeypatch, KeyboardInterrupt()) == 130
    assert run_with(monkeypatch, typer.Abort()) == 130


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, ZeroDivisionError("ours"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["dat"], "No such command 'dat'"),
    (["data"], "Missing command"),
    (["data", "import"], "Missing argument 'FORMAT'"),
    (["data", "stats", "x", "--jsn"], "No such option: --jsn"),
    (["data", "split", "x", "--val", "much"], "Invalid value for '--val'"),
])  # fmt: skip
def test_misused_command_line_is_one_line_and_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_help_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    commands = ("quickstart", "data", "generate", "reward", "pairs", "encode", "align", "guide", "sample", "evaluate")
    assert [name for name in commands if f"  {name} " not in text] == []
