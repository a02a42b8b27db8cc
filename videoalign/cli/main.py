"""The ``videoalign`` command: every group of commands, and the one place where a mistake becomes one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Annotated

import typer

from videoalign import __version__
from videoalign.cli import adapter, align, annotate, data, evaluate, guide, plan, reward, rounds, sample, studio
from videoalign.cli.places import at_border
from videoalign.cli.watching import WATCHING, log_event, watch
from videoalign.errors import ConfigError, VideoAlignError
from videoalign.stores.opening import as_given, asked_for

TOGETHER = (("align",), ("guide", "train"), ("reward", "train"))
"""Commands that several processes, as torchrun starts them, do together."""


def build_app() -> typer.Typer:
    """The whole command line; loads no model library."""
    app = typer.Typer(
        name="videoalign",
        help="Turn human preferences about videos into a better video generator.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for module in (data, annotate, sample, studio, reward, align, rounds, guide, adapter, evaluate, plan):
        module.register(app)
    _open_addresses(app)
    return app


def _open_addresses(app: typer.Typer) -> None:
    """Every command goes through `at_border`."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = at_border(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _open_addresses(group.typer_instance)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; the only place where errors end.

    Returns:
        0 when all went well; 2 after ``error: ...``, one line on stderr, for a user's mistake; 130 when interrupted.
        Any other exception passes, with its traceback, since it is a defect of ours.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    asked_for()  # of an earlier command that did not come to it
    try:
        _require_alone(words)
        with ExitStack() as stack:
            if os.environ.get("RANK", "0") != "0":  # the first process says what was done
                stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            code = build_app()(args=words, prog_name="videoalign", standalone_mode=False)
    except VideoAlignError as error:
        return _say(str(error))
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):
            print(message)
            return 0
        return _say(message)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _say(f"{str(error.filename)[:80]}...: is longer than a name can be on this machine; give a shorter one.")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


def _require_alone(words: Sequence[str]) -> None:
    """Checks that a command which several processes were started for is one that they can do together."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or any(tuple(words[: len(name)]) == name for name in TOGETHER):
        return
    if os.environ.get("RANK", "0") != "0":
        sys.exit(2)  # the first process says it
    told = ", ".join(" ".join(name) for name in TOGETHER)
    raise ConfigError(
        f"'{' '.join(words[:2])}' runs in one process, but {os.environ['WORLD_SIZE']} were started; start it without "
        f"torchrun or accelerate launch. Several processes can do: {told}."
    )


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    log: Annotated[
        str, typer.Option("--log", metavar="text|json", help="How long work tells how far it is, on stderr.")
    ] = "text",
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve metrics of long work for Prometheus at this port.")
    ] = None,
) -> None:
    watch(log, metrics_port)
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _say(message: str) -> int:
    line = as_given(" ".join(message.split()))
    if WATCHING.log == "json":
        log_event("error", text=line)
    else:
        print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
