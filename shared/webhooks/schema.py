"""Puts the tables of webhooks into a service's schema; what this creates never changes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.webhooks.columns import delivery_indexes, endpoint_indexes


def create_webhook_tables(
    *, schema: str, endpoints: str = "webhooks", deliveries: str = "webhook_deliveries"
) -> None:
    """Create the table of endpoints and the outbox."""
    op.create_table(
        endpoints,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text), nullable=False),
        _instant("created_at", filled=True),
        _instant("disabled_at"),
        _instant("busy_until"),
        schema=schema,
    )
    op.create_table(
        deliveries,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column(
            "endpoint_id",
            sa.Uuid,
            sa.ForeignKey(f"{schema}.{endpoints}.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="waiting"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        _instant("next_attempt_at", filled=True),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        _instant("created_at", filled=True),
        _instant("finished_at"),
        sa.CheckConstraint("status IN ('waiting', 'delivered', 'dead')"),
        schema=schema,
    )
    for table, indexes in (
        (endpoints, endpoint_indexes(endpoints)),
        (deliveries, delivery_indexes(deliveries)),
    ):
        for index in indexes:
            op.create_index(
                index.name,
                table,
                list(index.expressions),
                schema=schema,
                postgresql_where=index.dialect_options["postgresql"]["where"],
            )


def drop_webhook_tables(
    *, schema: str, endpoints: str = "webhooks", deliveries: str = "webhook_deliveries"
) -> None:
    """Remove what `create_webhook_tables` made."""
    op.drop_table(deliveries, schema=schema)
    op.drop_table(endpoints, schema=schema)


def _instant(name: str, *, filled: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not filled,
        server_default=sa.func.now() if filled else None,
    )
