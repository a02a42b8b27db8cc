"""Runs migrations on the connection that `videoalign.web.annotate.storage.database` hands over."""

from alembic import context

from videoalign.web.annotate.storage.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
