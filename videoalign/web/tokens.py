"""Tokens that let somebody in where strangers could ask a server."""

from __future__ import annotations

import os
from pathlib import Path

from videoalign.errors import ConfigError
from videoalign.web.listening import is_loopback

TOKEN_VARIABLE = "VIDEOALIGN_TOKEN"  # noqa: S105


def read_tokens(file: Path | None) -> tuple[bytes, ...]:
    """The tokens in a file, one a line, or the one in the environment variable VIDEOALIGN_TOKEN; none without both.

    Raises:
        ConfigError: the file cannot be read or holds none, or a token is not plain text without spaces.
    """
    if file is None:
        source, tokens = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").split("\n")
    else:
        source = f"--token-file {file}"
        try:
            tokens = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot be read ({error}); give a file with one token a line.") from None
    tokens = [token.strip() for token in tokens if token.strip()]
    if file is not None and not tokens:
        raise ConfigError(f"{source}: holds no token; write one a line.")
    if any(not token.isascii() or not token.isprintable() or " " in token for token in tokens):
        raise ConfigError(f"{source}: a token is ASCII text without spaces; make one with 'openssl rand -hex 32'.")
    return tuple(token.encode("ascii") for token in tokens)


def require_safe(host: str, tokens: tuple[bytes, ...]) -> None:
    """Checks that strangers cannot ask the server.

    Raises:
        ConfigError: other machines could reach it and there is no token.
    """
    if not is_loopback(host) and not tokens:
        raise ConfigError(
            f"--host: {host} can be reached by others, so a token is needed; give --token-file FILE or set "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1."
        )
