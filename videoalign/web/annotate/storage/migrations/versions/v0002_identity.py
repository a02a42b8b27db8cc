"""A database knows its dataset, the guidelines that verdicts were given under, and how people are forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FORGOTTEN = "EXISTS (SELECT 1 FROM audit AS log WHERE log.action = 'person.forgotten' AND log.subject = {person})"
SAME_WORDS = ("id", "assignment_id", "verdicts", "ratings", "watched_a", "watched_b", "seconds", "submitted_at",
              "guideline")  # fmt: skip
SAME_LOG = ("id", "at", "person_id", "action", "subject")
JSON_COLUMNS = {"verdicts", "ratings"}


def upgrade() -> None:
    """Adds the columns, takes names out of the audit log, and protects rows against changes as well."""
    op.add_column("programme", sa.Column("dataset_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("programme", sa.Column("guideline", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("judgements", sa.Column("guideline", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("assignments", sa.Column("guideline", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "guidelines",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("dimensions", sa.JSON(), nullable=False),
        sa.Column("renamed", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_guidelines")),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_no_update")
        op.execute("UPDATE audit SET detail = json_remove(detail, '$.name') WHERE action = 'invitation.made'")
        keep_in_sqlite()
    else:
        op.execute("DROP TRIGGER audit_kept ON audit")
        op.execute("UPDATE audit SET detail = (detail::jsonb - 'name')::json WHERE action = 'invitation.made'")
        keep_in_postgresql()


def keep_in_sqlite() -> None:
    """Refuses every change but taking a verdict back and forgetting somebody."""
    forgotten = FORGOTTEN.format(
        person="(SELECT CAST(a.person_id AS TEXT) FROM assignments AS a WHERE a.id = OLD.assignment_id)"
    )
    allowed = words_allowed(" IS ", forgotten)
    refuse = (
        "BEFORE UPDATE ON {table} WHEN NOT ({allowed}) BEGIN SELECT RAISE(ABORT, '{table} is only ever added to'); END"
    )
    op.execute("CREATE TRIGGER judgements_no_update " + refuse.format(table="judgements", allowed=allowed))
    scrubbed = "NEW.detail = json_remove(OLD.detail, '$.reason')"
    allowed = log_allowed(" IS ", scrubbed, "CAST(OLD.person_id AS TEXT)")
    op.execute("CREATE TRIGGER audit_no_update " + refuse.format(table="audit", allowed=allowed))


def keep_in_postgresql() -> None:
    """The same in PostgreSQL, where the log lost its trigger above."""
    forgotten = FORGOTTEN.format(
        person="(SELECT a.person_id::text FROM assignments AS a WHERE a.id = OLD.assignment_id)"
    )
    same = " IS NOT DISTINCT FROM "
    scrubbed = "NEW.detail::jsonb = OLD.detail::jsonb - 'reason'"
    for table, allowed in (
        ("judgements", words_allowed(same, forgotten)),
        ("audit", log_allowed(same, scrubbed, "OLD.person_id::text")),
    ):
        op.execute(
            f"CREATE FUNCTION {table}_check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {allowed} THEN RETURN NEW; END IF; RAISE EXCEPTION '{table} is only ever added to'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_unchanged BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_check()"
        )
    op.execute("CREATE TRIGGER audit_kept BEFORE DELETE OR TRUNCATE ON audit EXECUTE FUNCTION audit_refuse()")


def words_allowed(same: str, forgotten: str) -> str:
    """Taking a verdict back, once; taking the comment of somebody who is forgotten away."""
    taken_back = (
        "NEW.comment = OLD.comment AND NEW.content_hash = OLD.content_hash "
        "AND OLD.withdrawn_at IS NULL AND NEW.withdrawn_at IS NOT NULL"
    )
    cleared = f"NEW.comment = '' AND NEW.content_hash = '' AND NEW.withdrawn_at{same}OLD.withdrawn_at AND {forgotten}"
    return f"{unchanged(SAME_WORDS, same)} AND (({taken_back}) OR ({cleared}))"


def log_allowed(same: str, scrubbed: str, person: str) -> str:
    """Taking away why somebody did something, or why something was done to them, once they are forgotten."""
    theirs = FORGOTTEN.format(person=person)
    of_them = f"(OLD.action LIKE 'person.%' AND {FORGOTTEN.format(person='OLD.subject')})"
    return f"{unchanged(SAME_LOG, same)} AND {scrubbed} AND ({theirs} OR {of_them})"


def unchanged(columns: tuple[str, ...], same: str) -> str:
    """A condition; what PostgreSQL stores as JSON is compared as text."""
    cast = "::text" if "DISTINCT" in same else ""
    return " AND ".join(
        f"NEW.{name}{cast}{same}OLD.{name}{cast}" if name in JSON_COLUMNS else f"NEW.{name}{same}OLD.{name}"
        for name in columns
    )
