"""What requests with an `Idempotency-Key` made.

Revision ID: 0003
"""

from alembic import op

from shared.idempotency_schema import create_idempotency_table

revision = "0003"
down_revision = "0002"

SCHEMA = "scancer"


def upgrade() -> None:
    create_idempotency_table("slide_id", "slides", schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("idempotency_keys", schema=SCHEMA)
