"""Runs the ledger's migrations on the connection, and in the transaction, of Ledger.migrate."""

from alembic import context

from node.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters tables by copying them
)
context.run_migrations()
