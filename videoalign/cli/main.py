"""The ``videoalign`` command: every group of commands, and the one place where a mistake becomes one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from videoalign import __version__
from videoalign.cli import adapter, align, annotate, data, evaluate, guide, reward, sample
from videoalign.errors import VideoAlignError


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
    for module in (data, annotate, sample, reward, align, guide, adapter, evaluate):
        module.register(app)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; the only place where errors end.

    Returns:
        0 when all went well; 2 after ``error: ...``, one line on stderr, for a user's mistake; 130 when interrupted.
        Any other exception passes, with its traceback, since it is a defect of ours.
    """
    app = build_app()
    try:
        code = app(args=list(sys.argv[1:] if argv is None else argv), prog_name="videoalign", standalone_mode=False)
    except VideoAlignError as error:
        return _say(str(error))
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):
            print(message)
            return 0
        return _say(message)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _say(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
