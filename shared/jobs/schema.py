"""Puts a job table, and PgQueuer's own tables beside it, into a service's schema.

What these functions create never changes, because migrations that have run are history: a later
column comes with a function of its own. The lock pins PgQueuer's version; raising it comes with a
migration for each service that runs PgQueuer's `upgrade`.
"""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from sqlalchemy.dialects import postgresql

from shared.jobs.columns import job_indexes
from shared.jobs.delivery import delivery_settings

#: A row is updated a few times a second while it is worked on, then never again.
_BUSY_TABLE: Final = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
}


def create_job_table(name: str, *columns: sa.Column[Any], schema: str, **options: Any) -> None:
    """Create the table of a service's jobs with its indexes, the service's `columns` among them."""
    op.create_table(name, *_columns(), *columns, schema=schema, **options)
    op.create_check_constraint(
        f"{name}_status",
        name,
        "status IN ('queued', 'running', 'paused', 'held', 'completed', 'failed', 'cancelled')",
        schema=schema,
    )
    for index in job_indexes(name):
        op.create_index(
            index.name,
            name,
            list(index.expressions) if index.expressions else [],
            unique=index.unique,
            schema=schema,
            postgresql_where=index.dialect_options["postgresql"]["where"],
        )
    op.execute(f'ALTER TABLE "{schema}"."{name}" SET ({_storage(_BUSY_TABLE)})')


def install_delivery(schema: str) -> None:
    """Install PgQueuer's tables in `schema`, with the storage options of a busy queue."""
    queries = QueryBuilderEnvironment(delivery_settings(schema))
    _execute_script(queries.build_install_query(create_schema=False))
    _execute_script(queries.build_optimize_autovacuum_query())


def uninstall_delivery(schema: str) -> None:
    """Remove what `install_delivery` made."""
    _execute_script(QueryBuilderEnvironment(delivery_settings(schema)).build_uninstall_query())


def _execute_script(script: str) -> None:
    """Run several statements at once, in the migration's transaction.

    A prepared statement is one statement, so this goes to the driver, which must have begun.
    """
    connection = op.get_bind()
    connection.execute(sa.text("SELECT 1"))
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda raw: raw.execute(script))


def _storage(options: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in options.items())


def _columns() -> list[sa.Column[Any]]:
    def instant(name: str, **options: Any) -> sa.Column[Any]:
        return sa.Column(name, sa.DateTime(timezone=True), **options)

    def count(name: str, kind: Any = sa.Integer) -> sa.Column[Any]:
        return sa.Column(name, kind, nullable=False, server_default="0")

    def flag(name: str) -> sa.Column[Any]:
        return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())

    now = {"nullable": False, "server_default": sa.func.now()}
    return [
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("status", sa.Text, nullable=False, server_default="queued"),
        sa.Column("tenant", sa.Text, nullable=False),
        count("priority"),
        sa.Column("dedupe_key", sa.Text),
        count("progress", sa.Double),
        count("attempts"),
        count("deaths"),
        count("failures"),
        count("fence", sa.BigInteger),
        sa.Column("worker", sa.Text),
        instant("lease_until"),
        flag("cancel_requested"),
        flag("pause_requested"),
        instant("run_after", **now),
        sa.Column("result", postgresql.JSONB),
        sa.Column("error_code", sa.Text),
        sa.Column("error", sa.Text),
        instant("created_at", **now),
        instant("queued_at", **now),
        instant("claimed_at"),
        instant("started_at"),
        instant("finished_at"),
    ]
