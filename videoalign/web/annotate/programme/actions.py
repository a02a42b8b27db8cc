"""What admins do about people and links: one function each for the pages, the JSON interface and the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from videoalign.web.annotate.programme import discarding, people
from videoalign.web.annotate.programme.programme import Desk
from videoalign.web.annotate.programme.schema import NewInvitation


class Act(StrEnum):
    """What is done to somebody who is known."""

    PAUSE = "pause"
    """Gives them no more pairs."""
    RESUME = "resume"
    """Lets them go on."""
    LINK = "link"
    """Makes them a new link."""
    DISCARD = "discard"
    """Discards all that they judged so far; their pairs go to others."""
    RESTORE = "restore"
    """Takes that back."""


def invite(desk: Desk, by: int | None, wanted: NewInvitation, base: str) -> str:
    """A link for somebody new; it is shown this once.

    Args:
        desk: of the programme.
        by: the admin; None where the server or the command line acts.
        wanted: who and as what.
        base: address of the server, used where the settings name no ``public_url``.
    """
    _, token = desk.database.write(lambda session: people.invite(desk, session, by, wanted.role, wanted.name))
    return link_of(desk, token, base)


def owner_link(desk: Desk, base: str) -> str:
    """A new link for the first admin; links made for them before and not yet used are revoked."""
    return link_of(desk, desk.database.write(lambda session: people.owner_link(desk, session)), base)


def act(desk: Desk, by: int | None, person: int, what: Act, base: str, reason: str = "") -> dict[str, Any]:
    """Does something to somebody and returns what became of it, as JSON has it; see `invite` for the arguments.

    Raises:
        Refusal: nobody has this number.
    """

    def work(session: Session) -> dict[str, Any]:
        match what:
            case Act.PAUSE:
                people.pause(desk, session, by, person, reason)
                return {"paused": True}
            case Act.RESUME:
                people.resume(desk, session, by, person)
                return {"paused": False}
            case Act.LINK:
                return {"link": link_of(desk, people.link(desk, session, by, person), base)}
            case Act.DISCARD:
                return {"discarded": discarding.discard(desk, session, by, person)}
            case Act.RESTORE:
                return {"restored": discarding.restore(desk, session, by, person)}

    return desk.database.write(work)


def revoke(desk: Desk, by: int | None, invitation: int) -> None:
    """Makes a link useless and closes the session that it opened.

    Raises:
        Refusal: there is no such link.
    """
    desk.database.write(lambda session: people.revoke(desk, session, by, invitation))


def link_of(desk: Desk, token: str, base: str) -> str:
    """The whole link that stands for a token."""
    return f"{(desk.settings.public_url or base).rstrip('/')}/join/{token}"
