"""Who came by the open link of a crowd."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column; nobody came that way before."""
    op.add_column("people", sa.Column("crowd_key", sa.String(length=64), nullable=True))
    op.create_index("ix_people_crowd_key", "people", ["crowd_key"], unique=True)
