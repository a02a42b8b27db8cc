"""``videoalign annotate``: people judge pairs of clips in their browsers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli import annotate_backup, annotate_people
from videoalign.cli.annotate_agreement import agreement, leaderboard
from videoalign.cli.annotate_common import Db, needs_web
from videoalign.cli.common import ConfigFile, Folder, Host, Overrides, Port, load_config, print_note


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Collect judgements from people, and see how far they agree.", no_args_is_help=True)
    group.command("serve")(serve)
    group.command("export")(export)
    group.command("discard")(discard)
    annotate_people.register(group)
    annotate_backup.register(group)
    group.command("agreement")(agreement)
    group.command("leaderboard")(leaderboard)
    app.add_typer(group, name="annotate")


def serve(
    dataset: Folder,
    settings: Overrides = None,
    db: Db = None,
    host: Host = None,
    port: Port = None,
    config: ConfigFile = None,
) -> None:
    """Let people judge the pairs of a dataset in their browsers, until told to stop."""
    with needs_web("serve"):
        from videoalign.web.annotate.http.server import Started, serve_programme
        from videoalign.web.annotate.settings import AnnotateSettings

    options = load_config(AnnotateSettings, config, settings, db=db, host=host, port=port)

    def started(server: Started) -> None:
        for note in server.notes:
            print_note(note)
        print(f"{server.address}: {server.num_pairs} pairs", flush=True)
        print(f"admin link, for one use: {server.admin_link}", flush=True)
        inside = Path(server.database).is_relative_to(dataset.resolve())
        warning = "; it holds names and comments, so do not publish it with the dataset" if inside else ""
        print(f"database: {server.database}{warning}", flush=True)

    serve_programme(dataset, options, on_start=started)


def export(dataset: Folder, settings: Overrides = None, db: Db = None, config: ConfigFile = None) -> None:
    """Write the judgements of a programme's database to the dataset folder, as its server does every `sync_seconds`.

    Takes the settings of 'serve', so that one file does for both; where the database is, is all that counts.
    """
    with needs_web("export"):
        from videoalign.web.annotate.programme import records
        from videoalign.web.annotate.programme.export import opened, write_tables
        from videoalign.web.annotate.settings import AnnotateSettings
        from videoalign.web.annotate.storage import database

    options = load_config(AnnotateSettings, config, settings, db=db)
    with opened(dataset, options, database.address(dataset, options.db)) as programme:
        num = write_tables(programme)
        with programme.database.read() as session:
            left_out, versions = records.num_strangers(programme, session), programme.wording.version
    print(f"{dataset}: {num} judgements of this programme")
    if left_out:
        print(f"{left_out} verdicts on clips that are not in the dataset stay in the database")
    if versions > 1:
        print(f"given under {versions} versions of the guideline; the column 'guideline' says which")


def discard(
    dataset: Folder,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Name, number or rater id, as in rater-7.")],
    settings: Overrides = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count the discarded work again.")] = False,
    db: Db = None,
    config: ConfigFile = None,
) -> None:
    """Discard all that somebody judged so far: verdicts stay stored but count nowhere, and their pairs go to others.

    Takes the settings of 'serve', as 'export' does; where the database is, is all that counts. A server may be running.
    """
    with needs_web("discard"):
        from videoalign.web.annotate.programme import discarding, export, people
        from videoalign.web.annotate.settings import AnnotateSettings
        from videoalign.web.annotate.storage import database

    options = load_config(AnnotateSettings, config, settings, db=db)
    with export.opened(dataset, options, database.address(dataset, options.db)) as programme:
        with programme.database.read() as session:
            found = people.named(session, person)
            number, name = found.id, found.name
        turn, served = discarding.restore if undo else discarding.discard, discarding.as_served(programme)
        num = programme.database.write(lambda session: turn(served, session, None, number))
    print(f"{name}: {num} verdicts {'count again' if undo else 'discarded'}")
