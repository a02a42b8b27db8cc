"""The first tables, and the rows that may never change."""

from __future__ import annotations

from alembic import op

from videoalign.web.annotate.tables import Base

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables and the triggers that keep the audit log and the raw judgements."""
    Base.metadata.create_all(op.get_bind())
    keep("audit", "UPDATE", "DELETE")
    keep("judgements", "DELETE")


def keep(table: str, *forbidden: str) -> None:
    """Refuses these statements on a table, whoever sends them."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in forbidden:
            op.execute(
                f"CREATE TRIGGER {table}_no_{statement.lower()} BEFORE {statement} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is only ever added to'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is only ever added to'; END $$"
    )
    events = " OR ".join((*forbidden, "TRUNCATE"))
    op.execute(f"CREATE TRIGGER {table}_kept BEFORE {events} ON {table} EXECUTE FUNCTION {table}_refuse()")
