"""Runs migrations on the connection that `videoalign.web.annotate.database` hands over."""

from alembic import context

from videoalign.web.annotate.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
