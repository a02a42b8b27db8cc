"""What admins do about people and links: one function each for the pages, the JSON interface and the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from videoalign.web.annotate.programme import discarding, people
from videoalign.web.annotate.programme.programme import OpenProgramme
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


def invite(programme: OpenProgramme, by: int | None, wanted: NewInvitation, base: str) -> str:
    """A link for somebody new; it is shown this once.

    Args:
        programme: that they are to judge for.
        by: the admin; None where the server or the command line acts.
        wanted: who and as what.
        base: address of the server, used where the settings name no ``public_url``.
    """
    _, token = programme.database.write(lambda session: people.invite(programme, session, by, wanted.role, wanted.name))
    return link_of(programme, token, base)


def owner_link(programme: OpenProgramme, base: str) -> str:
    """A new link for the first admin; links made for them before and not yet used are revoked."""
    return link_of(programme, programme.database.write(lambda session: people.owner_link(programme, session)), base)


def act(
    programme: OpenProgramme, by: int | None, person: int, what: Act, base: str, reason: str = ""
) -> dict[str, Any]:
    """Does something to somebody and returns what became of it, as JSON has it; see `invite` for the arguments.

    Raises:
        Refusal: nobody has this number.
    """

    def work(session: Session) -> dict[str, Any]:
        match what:
            case Act.PAUSE:
                people.pause(programme, session, by, person, reason)
                return {"paused": True}
            case Act.RESUME:
                people.resume(programme, session, by, person)
                return {"paused": False}
            case Act.LINK:
                return {"link": link_of(programme, people.link(programme, session, by, person), base)}
            case Act.DISCARD:
                return {"discarded": discarding.discard(programme, session, by, person)}
            case Act.RESTORE:
                return {"restored": discarding.restore(programme, session, by, person)}

    return programme.database.write(work)


def revoke(programme: OpenProgramme, by: int | None, invitation: int) -> None:
    """Makes a link useless and closes the session that it opened.

    Raises:
        Refusal: there is no such link.
    """
    programme.database.write(lambda session: people.revoke(programme, session, by, invitation))


def link_of(programme: OpenProgramme, token: str, base: str) -> str:
    """The whole link that stands for a token."""
    return f"{(programme.settings.public_url or base).rstrip('/')}/join/{token}"
