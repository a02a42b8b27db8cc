"""Every mistake a user can make, as one tree; the command line turns each into one line and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class VideoAlignError(Exception):
    """A mistake in what the user gave: says which setting, what it got, what it wanted and the way out, in one line."""


class ConfigError(VideoAlignError):
    """A setting is missing, misspelt or out of range."""


class DataError(VideoAlignError):
    """A dataset, table or record cannot be used as it is."""


class VideoError(DataError):
    """A clip is missing, truncated or not a video."""


class LimitError(VideoError):
    """A clip is larger than the limits that were set for reading it."""


class ModelError(VideoAlignError):
    """A model, adapter or reward folder cannot be loaded or does not fit."""


class ServerError(VideoAlignError):
    """A server of ours cannot be reached, is too busy or failed."""


class OutputError(VideoAlignError):
    """An output cannot be written: another run's folder, a full disk, no permission."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or the list of them when none is near.

    Nearest is what differs in capitals and in what stands between words only, as ``Clip A`` for ``clip_a``.
    """
    names = sorted(known)
    plain = [_plain(one) for one in names]
    near = difflib.get_close_matches(_plain(name), plain, n=1) if names else []
    return f" Did you mean '{names[plain.index(near[0])]}'?" if near else f" Known: {', '.join(names)}."


def first_few(names: Sequence[str]) -> str:
    """The first five of the names, and whether there are more, as ``a, b, c, d, e, ...``."""
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign not in " _-.")
