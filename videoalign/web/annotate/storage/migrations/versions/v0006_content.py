"""What stands for the clips that a verdict was given on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the columns; of earlier verdicts it is not known."""
    for name in ("content_a", "content_b"):
        op.add_column("judgements", sa.Column(name, sa.String(), nullable=False, server_default=""))
