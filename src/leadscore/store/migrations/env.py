"""What Alembic runs: the revisions, on the connection that it is handed."""

from alembic import context

from leadscore.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
