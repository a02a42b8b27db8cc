"""Whether both clips of a pair were watched: as the page counts it, and as far as the server's own clock can tell.

The page tells how many different seconds of each clip were played. The server knows when it showed the pair and which
clips it sent, and takes no verdict sooner than both can have been watched at the page's highest speed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment
from videoalign.web.refusals import Refusal

TOLERANCE = 0.1
"""Seconds by which a player may miss the end of a clip."""
HIGHEST_SPEED = 2.0
"""The highest speed that the rating page offers."""
SIDES = {"left": 1, "right": 2}
"""Bits of `Assignment.served`."""
BOTH = 3


def needed_seconds(programme: OpenProgramme, clip_id: str) -> float:
    """How many different seconds of a clip must be played before a verdict."""
    return programme.settings.min_watch * programme.library.seconds(clip_id)


def seconds_to_wait(programme: OpenProgramme, clips: tuple[str, str], shown_at: float | None) -> float:
    """Seconds that must still pass before a verdict on a pair can be taken; all of them where it is shown just now.

    A clock that was set back since the pair was shown cannot tell, and asks for none.
    """
    needed = max(0.0, *(needed_seconds(programme, clip_id) - TOLERANCE for clip_id in clips)) / HIGHEST_SPEED
    passed = programme.now() - shown_at if shown_at is not None else 0.0
    return max(0.0, needed - passed) if passed >= 0 else 0.0


def require_watched(programme: OpenProgramme, row: Any, clips: tuple[str, str], seconds: tuple[float, float]) -> None:
    """Checks that both clips, the left one first, were watched for so many seconds.

    Raises:
        Refusal: one was not.
    """
    if programme.settings.min_watch == 0:
        return
    if row.served != BOTH:
        raise Refusal(422, "not_watched", "a clip was not loaded yet; load the page again and watch both.")
    enough = all(seen >= needed_seconds(programme, clip) - TOLERANCE for clip, seen in zip(clips, seconds, strict=True))
    if not enough or row.shown_at is None or seconds_to_wait(programme, clips, row.shown_at) > 0:
        raise Refusal(422, "not_watched", "watch both clips to the end first.")


def note_served(programme: OpenProgramme, assignment: str, side: str, served: int) -> None:
    """Remembers that a clip is sent to whoever is to judge it, unless that is known; nobody waits for it."""
    bit = SIDES[side]
    if programme.settings.min_watch > 0 and not served & bit:
        noted = update(Assignment).where(Assignment.id == assignment)
        programme.database.write_soon(
            lambda session: session.execute(noted.values(served=Assignment.served.bitwise_or(bit))) and None
        )
