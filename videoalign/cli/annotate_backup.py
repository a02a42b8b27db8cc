"""``videoalign annotate backup`` and ``restore``: a copy of the database, and putting it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.annotate_common import Db, needs_web
from videoalign.cli.common import AsJson, ConfigFile, Folder, Overrides, load_config, local_path, print_json


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command("backup")(backup)
    group.command("restore")(restore)


def backup(
    dataset: Folder,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The copy; a new file.", parser=local_path)],
    settings: Overrides = None,
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the database of a programme into one file, as it stands at one moment. A server may be running.

    Takes the settings of 'serve'; where the database is, is all that counts. The copy holds names and comments.
    """
    with needs_web("backup"):
        from videoalign.web.annotate.programme import backup as copies
        from videoalign.web.annotate.settings import AnnotateSettings
        from videoalign.web.annotate.storage import database

    options = load_config(AnnotateSettings, config, settings, db=db)
    copies.back_up(dataset, database.address(dataset, options.db), out)
    if as_json:
        print_json({"out": str(out)})
    else:
        print(f"{out}: a copy of the programme of {dataset}, with names and comments; keep it to yourself")


def restore(
    dataset: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'annotate backup' wrote.", parser=local_path)],
    settings: Overrides = None,
    db: Db = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of a programme's database, which is kept under another name. No server may run.

    Takes the settings of 'serve'; where the database is, is all that counts.
    """
    with needs_web("restore"):
        from videoalign.web.annotate.programme import backup as copies
        from videoalign.web.annotate.settings import AnnotateSettings

    options = load_config(AnnotateSettings, config, settings, db=db)
    done = copies.put_back(dataset, options.db, file)
    kept = str(done.kept) if done.kept is not None else None
    if as_json:
        print_json(
            {"database": str(done.database), "kept": kept, "verdicts": done.verdicts, "forgotten": done.forgotten}
        )
        return
    print(f"{done.database}: put back from {file}, {done.verdicts} verdicts")
    if kept is not None:
        print(f"what was there before is kept in {kept}")
    if done.forgotten:
        print(f"forgotten again, as they were since: {', '.join(done.forgotten)}")
