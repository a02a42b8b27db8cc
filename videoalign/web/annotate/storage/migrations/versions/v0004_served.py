"""Which clips of a pair were sent to the person who is to judge it; an index by which verdicts are counted by kind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the column, and the kind to an index; whoever holds a pair now has its clips."""
    op.add_column("assignments", sa.Column("served", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE assignments SET served = 3 WHERE state IN ('leased', 'expired')")
    op.drop_index("ix_assignments_state_lease_until", "assignments")
    op.create_index("ix_assignments_state_lease_until_kind", "assignments", ["state", "lease_until", "kind"])
