"""Webhooks: whom else to tell of events."""

from shared.webhooks.schema import create_webhook_tables, drop_webhook_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_webhook_tables(schema="fleet")


def downgrade() -> None:
    drop_webhook_tables(schema="fleet")
