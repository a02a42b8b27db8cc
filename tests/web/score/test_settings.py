"""Who may ask, and limits that can be met."""

from __future__ import annotations

from pathlib import Path

import pytest

from videoalign.errors import ConfigError
from videoalign.web.score.settings import ServeSettings
from videoalign.web.tokens import read_tokens, require_safe


def test_tokens_come_from_the_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOALIGN_TOKEN", raising=False)
    assert read_tokens(None) == ()
    monkeypatch.setenv("VIDEOALIGN_TOKEN", "from-the-environment")
    assert read_tokens(None) == (b"from-the-environment",)
    (tmp_path / "tokens").write_text("one\n\n two \r\n")
    assert read_tokens(tmp_path / "tokens") == (b"one", b"two")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no token"),
        (b"a b", "without spaces"),
        ("\u00e9".encode(), "ASCII"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_token_file_that_cannot_serve_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "tokens").write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_tokens(tmp_path / "tokens")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "absent")


def test_without_a_token_only_this_machine_may_ask() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        require_safe(host, ())
    for host in ("0.0.0.0", "::", "192.168.0.1", "server.example.org", ""):
        with pytest.raises(ConfigError, match="a token is needed"):
            require_safe(host, ())
        require_safe(host, (b"token",))


def test_limits_that_no_request_could_meet_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_queue: got .* wanted at least max_clips"):
        ServeSettings.load(None, ["max_clips=300"])
    with pytest.raises(ConfigError, match="max_queue_bytes: got .* wanted at least max_body_bytes"):
        ServeSettings.load(None, ["max_queue_bytes=1000"])
    assert ServeSettings.load(None, ["clip.seconds=5"]).clip.seconds == 5
