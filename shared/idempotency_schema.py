"""The table of `shared.idempotency` in a migration; apart, because alembic is heavy."""

import sqlalchemy as sa
from alembic import op


def create_idempotency_table(resource: str, references: str, *, schema: str) -> None:
    """Create `idempotency_keys` for owners that are text.

    Args:
        resource: the column that names what a request made.
        references: the table that it points to.
        schema: the service's.
    """
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.Text, nullable=False),
        sa.Column(
            resource,
            sa.Uuid,
            # Checked at commit: a request claims its key first, then makes what it is for.
            sa.ForeignKey(
                f"{schema}.{references}.id",
                ondelete="CASCADE",
                deferrable=True,
                initially="DEFERRED",
            ),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        schema=schema,
    )
