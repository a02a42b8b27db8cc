"""From which turn the hidden gold of a person counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("people", sa.Column("gold_from", sa.Integer(), nullable=False, server_default="0"))
