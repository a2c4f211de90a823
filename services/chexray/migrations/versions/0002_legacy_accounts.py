"""The old API's user numbers; number 1 is the anonymous account.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SCHEMA = "chexray"
ANONYMOUS = "00000000-0000-7000-8000-000000000001"


def upgrade() -> None:
    op.create_table(
        "legacy_accounts",
        sa.Column("number", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False, unique=True),
        schema=SCHEMA,
    )
    op.execute(
        f"INSERT INTO {SCHEMA}.legacy_accounts (user_id) VALUES ('{ANONYMOUS}')"  # noqa: S608
    )


def downgrade() -> None:
    op.drop_table("legacy_accounts", schema=SCHEMA)
