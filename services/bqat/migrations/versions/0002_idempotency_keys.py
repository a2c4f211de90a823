"""What requests with an `Idempotency-Key` made.

Revision ID: 0002
"""

from alembic import op

from shared.idempotency_schema import create_idempotency_table

revision = "0002"
down_revision = "0001"

SCHEMA = "bqat"


def upgrade() -> None:
    create_idempotency_table("task_id", "tasks", schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("idempotency_keys", schema=SCHEMA)
