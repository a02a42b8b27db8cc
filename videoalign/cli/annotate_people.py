"""``videoalign annotate invite``, ``admin-link``, ``people``, ``pause``, ``resume``, ``forget``: who judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from videoalign.cli.annotate_common import Db, needs_web
from videoalign.cli.common import AsJson, ConfigFile, Folder, Overrides, load_config, print_json, print_table
from videoalign.errors import ConfigError

if TYPE_CHECKING:
    from videoalign.web.annotate.programme.programme import OpenProgramme

Body = TypeVar("Body", bound=BaseModel)
PersonRole = Literal["rater", "adjudicator", "admin"]
Person = Annotated[str, typer.Argument(metavar="PERSON", help="Name, number or rater id, as in rater-7.")]
COLUMNS = ("rater", "name", "role", "status", "submitted", "skipped", "expired")


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command("invite")(invite)
    group.command("admin-link")(admin_link)
    group.command("people")(people)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("forget")(forget)


def invite(
    dataset: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of whoever is invited, as admins see it.")],
    settings: Overrides = None,
    role: Annotated[PersonRole, typer.Option("--role", help="What they may do.")] = "rater",
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a link that lets somebody new in, once. A server may be running; give the settings that it was given."""
    with _programme("invite", dataset, settings, db, config) as (programme, base):
        from videoalign.web.annotate.programme import actions
        from videoalign.web.annotate.programme.schema import NewInvitation

        wanted = _checked(NewInvitation, "NAME", name, role=role, name=name)
        link = actions.invite(programme, None, wanted, base)
    _tell({"name": wanted.name, "role": role, "link": link}, as_json)


def admin_link(
    dataset: Folder, settings: Overrides = None, db: Db = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Print a new link for the first admin, for one use; the last one dies unless it was used."""
    with _programme("admin-link", dataset, settings, db, config) as (programme, base):
        from videoalign.web.annotate.programme import actions

        link = actions.owner_link(programme, base)
    _tell({"link": link}, as_json)


def people(
    dataset: Folder, settings: Overrides = None, db: Db = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List raters and adjudicators with their state and how many pairs they judged, skipped and let go."""
    with _programme("people", dataset, settings, db, config) as (programme, _), programme.database.read() as session:
        from videoalign.web.annotate.programme import statistics

        rows = statistics.people_rows(programme, session, {})
    if as_json:
        print_json([{name: value for name, value in row.items() if name != "quality"} for row in rows])
    else:
        print_table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows])


def pause(
    dataset: Folder,
    person: Person,
    settings: Overrides = None,
    reason: Annotated[str, typer.Option("--reason", help="What the person reads.")] = "",
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give somebody no more pairs; what they hold goes to others."""
    with _programme("pause", dataset, settings, db, config) as (programme, base):
        from videoalign.web.annotate.programme.schema import Reason

        _act(programme, base, person, "pause", as_json, _checked(Reason, "--reason", reason, reason=reason).reason)


def resume(
    dataset: Folder,
    person: Person,
    settings: Overrides = None,
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody go on who was paused."""
    with _programme("resume", dataset, settings, db, config) as (programme, base):
        _act(programme, base, person, "resume", as_json)


def forget(
    dataset: Folder,
    person: Person,
    settings: Overrides = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Discard all that they judged, too; their pairs go to others.")
    ] = False,
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget somebody for good: name, links, sessions, comments and drafts go; verdicts stay under the rater id.

    A server may be running. Backups that were made before still hold what goes.
    """
    with _programme("forget", dataset, settings, db, config) as (programme, _):
        from videoalign.web.annotate.programme import forgetting

        done = forgetting.forget(programme, _number(programme, person)[0], discard=discard)
    if as_json:
        print_json({"rater": done.rater, "comments": done.comments, "discarded": done.discarded})
    else:
        told = f", {done.discarded} verdicts discarded" if discard else ""
        print(f"{done.rater}: forgotten, {done.comments} comments and reasons removed{told}")


@contextmanager
def _programme(
    command: str, dataset: Path, settings: list[str] | None, db: str | None, config: Path | None
) -> Iterator[tuple[OpenProgramme, str]]:
    """A programme that was served before, and the address that its links begin with."""
    with needs_web(command):
        from videoalign.web.annotate.http.server import require_address
        from videoalign.web.annotate.programme import discarding, export
        from videoalign.web.annotate.settings import AnnotateSettings
        from videoalign.web.annotate.storage import database
        from videoalign.web.refusals import Refusal

    options = load_config(AnnotateSettings, config, settings, db=db)
    require_address(options)
    with export.opened(dataset, options, database.address(dataset, options.db)) as programme:
        try:
            yield discarding.as_served(programme), options.public_url or f"http://{options.host}:{options.port}"
        except Refusal as refusal:
            raise ConfigError(f"PERSON: {refusal.reason}") from None


def _act(programme: OpenProgramme, base: str, person: str, what: str, as_json: bool, reason: str = "") -> None:
    from videoalign.web.annotate.programme import actions

    number, name = _number(programme, person)
    done = actions.act(programme, None, number, actions.Act(what), base, reason)
    if as_json:
        print_json({"id": number, "name": name, **done})
    else:
        print(f"{name}: {what}d")


def _number(programme: OpenProgramme, person: str) -> tuple[int, str]:
    """Number and name of whoever is meant."""
    from videoalign.web.annotate.programme import people as stored

    with programme.database.read() as session:
        found = stored.named(session, person)
        return found.id, found.name


def _tell(made: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        print(made["link"])


def _checked(model: type[Body], what: str, got: str, **values: str) -> Body:
    """A body of the JSON interface, from the command line."""
    try:
        return model(**values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{what}: got {got!r}: {reason}.") from None
