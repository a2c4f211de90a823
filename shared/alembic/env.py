"""Alembic's entry: runs one service's history on the connection that `shared.migrations` opened."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table="alembic_version",
    version_table_schema=context.config.attributes["schema"],
    transaction_per_migration=False,
)
context.run_migrations()
