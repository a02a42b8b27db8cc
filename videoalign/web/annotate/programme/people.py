"""Who may come in: invitation links, sessions, and what an admin does about people."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from videoalign.errors import ConfigError, did_you_mean
from videoalign.web.annotate.programme import assigning
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Invitation, Pair, PairState, Person, PersonRole, SignIn, Status
from videoalign.web.refusals import Refusal

TOKEN_BYTES = 32
OWNER = "owner"
"""Name of the admin whose link the server prints when it starts."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in."""

    person_id: int
    name: str
    role: PersonRole
    csrf_token: str


def digest(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_token(session_token: str) -> str:
    """The token that goes with a session; who does not hold the session cannot work it out."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()


def invite(programme: OpenProgramme, session: Session, by: int | None, role: PersonRole, name: str) -> tuple[int, str]:
    """A new person and the token of the link that lets them in: ``(person id, token)``."""
    qualifies = role == PersonRole.RATER and programme.settings.qualification_pairs > 0 and _has_gold(session)
    status = Status.QUALIFYING if qualifies else Status.ACTIVE
    person = Person(name=name, role=role, status=status, created_at=programme.now())
    session.add(person)
    session.flush()
    return person.id, link(programme, session, by, person.id)


def link(programme: OpenProgramme, session: Session, by: int | None, person_id: int) -> str:
    """The token of a new link for somebody who is known.

    Raises:
        Refusal: nobody is.
    """
    person = find(session, person_id)
    token, now = secrets.token_urlsafe(TOKEN_BYTES), programme.now()
    row = Invitation(
        token_hash=digest(token),
        person_id=person_id,
        created_at=now,
        expires_at=now + 3600 * programme.settings.link_hours,
    )
    session.add(row)
    session.flush()
    programme.audit(session, by, "invitation.made", row.id, person=person_id, role=person.role)
    return token


def owner_link(programme: OpenProgramme, session: Session) -> str:
    """A new link for the first admin; links printed earlier and not yet used are revoked."""
    admins = (Person.role == PersonRole.ADMIN, Person.status != Status.FORGOTTEN)
    owner = session.scalar(select(Person.id).where(*admins).order_by(Person.id).limit(1))
    if owner is None:
        return invite(programme, session, None, PersonRole.ADMIN, OWNER)[1]
    unused = (Invitation.person_id == owner, Invitation.used_at.is_(None), Invitation.revoked_at.is_(None))
    session.execute(update(Invitation).where(*unused).values(revoked_at=programme.now()))
    return link(programme, session, None, owner)


def usable(programme: OpenProgramme, session: Session, token: str) -> tuple[Invitation, Person]:
    """The invitation that a link stands for, and whom it invites.

    Raises:
        Refusal: there is none, or it was used, was revoked or has expired.
    """
    row = session.scalar(select(Invitation).where(Invitation.token_hash == digest(token)))
    if row is None:
        raise Refusal(404, "unknown_link", "no such link; ask for a new one.")
    if row.revoked_at is not None:
        raise Refusal(410, "revoked_link", "this link was revoked; ask for a new one.")
    if row.used_at is not None:
        raise Refusal(410, "used_link", "this link was used already; ask for a new one.")
    if row.expires_at <= programme.now():
        raise Refusal(410, "expired_link", "this link has expired; ask for a new one.")
    return row, find(session, row.person_id)


def sign_in(programme: OpenProgramme, session: Session, token: str) -> str:
    """Uses a link up and returns the token of the session that it opens; see `usable` for the refusals."""
    row, person = usable(programme, session, token)
    now, opened = programme.now(), secrets.token_urlsafe(TOKEN_BYTES)
    row.used_at = now
    expires = now + 3600 * programme.settings.session_hours
    session.add(
        SignIn(token_hash=digest(opened), person_id=person.id, invitation_id=row.id, created_at=now, expires_at=expires)
    )
    programme.audit(session, person.id, "session.opened", row.id)
    return opened


def visitor(programme: OpenProgramme, session: Session, token: str | None) -> Visitor | None:
    """Whose session this is; None where it is nobody's, was closed or has expired."""
    if not token:
        return None
    row = session.connection().execute(_VISITOR, {"token_hash": digest(token), "now": programme.now()}).first()
    return None if row is None else Visitor(row.id, row.name, PersonRole(row.role), csrf_token(token))


def sign_out(programme: OpenProgramme, session: Session, token: str, person_id: int) -> None:
    """Closes a session."""
    session.execute(update(SignIn).where(SignIn.token_hash == digest(token)).values(revoked_at=programme.now()))
    programme.audit(session, person_id, "session.closed")


def revoke(programme: OpenProgramme, session: Session, by: int | None, invitation: int) -> None:
    """Makes a link useless and closes the session that it opened, whichever way it stands.

    Raises:
        Refusal: there is no such link.
    """
    row = session.get(Invitation, invitation)
    if row is None:
        raise Refusal(404, "unknown_link", "no such link.")
    now = programme.now()
    row.revoked_at = row.revoked_at or now
    session.execute(
        update(SignIn).where(SignIn.invitation_id == row.id, SignIn.revoked_at.is_(None)).values(revoked_at=now)
    )
    programme.audit(session, by, "invitation.revoked", row.id, person=row.person_id)


def pause(programme: OpenProgramme, session: Session, by: int | None, person_id: int, reason: str) -> None:
    """Gives somebody no more pairs, and what they hold to others."""
    person = find(session, person_id)
    person.status, person.reason = Status.PAUSED, reason
    assigning.release_all(programme, session, person_id)
    programme.audit(session, by, "person.paused", person_id, reason=reason)


def resume(programme: OpenProgramme, session: Session, by: int | None, person_id: int) -> None:
    """Lets somebody go on; an admin's word stands above a failed qualification, and hidden gold counts anew."""
    person = find(session, person_id)
    if person.status == Status.PAUSED:
        person.gold_from = person.given
    person.status, person.reason = Status.ACTIVE, ""
    programme.audit(session, by, "person.resumed", person_id)


def find(session: Session, person_id: int, *, forgotten: bool = False) -> Person:
    """A person.

    Args:
        session: of the database.
        person_id: their number.
        forgotten: take somebody who was forgotten too; such a person does nothing, and little is done to them.

    Raises:
        Refusal: nobody has this number, or whoever had it was forgotten.
    """
    person = session.scalars(_NUMBERED, {"person": person_id}).one_or_none()
    if person is None:
        raise Refusal(404, "unknown_person", f"nobody has the number {person_id}.")
    if person.status == Status.FORGOTTEN and not forgotten:
        raise Refusal(410, "forgotten", f"{person.name} was forgotten and cannot come back; invite somebody new.")
    return person


def named(session: Session, text: str) -> Person:
    """Somebody by name, number or rater id, as in ``7`` or ``rater-7``.

    Raises:
        ConfigError: nobody is called that, or several people are, as where the number of one is the name of another.
    """
    people = session.scalars(select(Person).order_by(Person.id)).all()
    words = {one.id: (str(one.id), f"{one.role}-{one.id}", one.name) for one in people}
    found = [one for one in people if text in words[one.id]]
    if len(found) == 1:
        return found[0]
    if found:
        meant = Counter(word for one in people for word in {*words[one.id]})
        own = [next((word for word in words[one.id] if meant[word] == 1), str(one.id)) for one in found]
        raise ConfigError(
            f"PERSON: {len(found)} people are called '{text}', by name or by number; give another word for one: "
            f"{', '.join(own)}."
        )
    raise ConfigError(f"PERSON: nobody is called '{text}'.{did_you_mean(text, [one.name for one in people])}")


def _has_gold(session: Session) -> bool:
    return session.scalar(select(Pair.id).where(Pair.state == PairState.GOLD).limit(1)) is not None


_NUMBERED = select(Person).where(Person.id == bindparam("person"))
_VISITOR = (
    select(Person.id, Person.name, Person.role)
    .join(SignIn, SignIn.person_id == Person.id)
    .where(
        SignIn.token_hash == bindparam("token_hash"),
        SignIn.revoked_at.is_(None),
        SignIn.expires_at > bindparam("now"),
    )
)
