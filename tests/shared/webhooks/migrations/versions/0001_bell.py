"""A service that only has webhooks.

Revision ID: 0001
"""

from shared.webhooks.schema import create_webhook_tables, drop_webhook_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_webhook_tables(schema="bell")


def downgrade() -> None:
    drop_webhook_tables(schema="bell")
