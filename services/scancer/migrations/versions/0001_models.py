"""Registered models, and which shipped packages have been registered.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SCHEMA = "scancer"


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("archive_sha256", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("network_sha256", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("min_workers", sa.Integer, nullable=False),
        sa.Column("max_workers", sa.Integer, nullable=False),
        sa.Column("batch_size", sa.Integer, nullable=False),
        sa.Column("max_batch_delay_ms", sa.Integer, nullable=False),
        sa.Column("response_timeout_s", sa.Integer, nullable=False),
        sa.Column("startup_timeout_s", sa.Integer, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("is_shipped", sa.Boolean, nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
        ),
        sa.CheckConstraint(
            "min_workers >= 0 AND max_workers >= min_workers", name="workers_in_order"
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "one_default_per_model",
        "models",
        ["name"],
        unique=True,
        postgresql_where=sa.text("is_default"),
        schema=SCHEMA,
    )
    op.create_index("models_of_archive", "models", ["archive_sha256"], schema=SCHEMA)
    op.create_table(
        "shipped",
        sa.Column("archive_sha256", sa.Text, primary_key=True),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("shipped", schema=SCHEMA)
    op.drop_table("models", schema=SCHEMA)
