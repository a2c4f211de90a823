"""Devices: accounts of machines, which hold tokens of a type of their own."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE auth.devices (
            id uuid PRIMARY KEY,
            name text UNIQUE CHECK (length(name) BETWEEN 1 AND 150),
            password_hash text,
            created_at timestamptz NOT NULL,
            disabled_at timestamptz,
            tokens_valid_from bigint NOT NULL DEFAULT 0
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE auth.devices")
