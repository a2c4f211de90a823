"""Slides as jobs, with the delivery of their tickets.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.jobs.schema import create_job_table, install_delivery, uninstall_delivery

revision = "0002"
down_revision = "0001"

SCHEMA = "scancer"


def upgrade() -> None:
    create_job_table(
        "slides",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("file_sha256", sa.Text, nullable=False),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column("facts", postgresql.JSONB, nullable=False),
        sa.Column("mpp_um", sa.Double, nullable=False),
        sa.Column("mpp_is_stated", sa.Boolean, nullable=False),
        sa.Column("region", postgresql.ARRAY(sa.Integer), nullable=False),
        sa.Column("stride_px", sa.Integer, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model", postgresql.JSONB, nullable=False),
        sa.Column("operating_point", sa.Double, nullable=False),
        sa.Column("blocks_done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("grid", sa.LargeBinary),
        sa.Column("view_sha256", sa.Text),
        schema=SCHEMA,
    )
    for name, columns in (
        ("slides_of_owner", "owner, created_at DESC, id DESC"),
        ("slides_of_file", "file_sha256"),
        ("slides_of_view", "view_sha256"),
    ):
        op.execute(f"CREATE INDEX {name} ON {SCHEMA}.slides ({columns})")
    install_delivery(SCHEMA)


def downgrade() -> None:
    uninstall_delivery(SCHEMA)
    op.drop_table("slides", schema=SCHEMA)
