"""A service that only has jobs, and remembers every effect.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from shared.jobs.schema import create_job_table, install_delivery, uninstall_delivery

revision = "0001"
down_revision = None

SCHEMA = "probe"


def upgrade() -> None:
    create_job_table(
        "tasks",
        sa.Column("label", sa.Text, nullable=False, server_default=""),
        sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
        schema=SCHEMA,
    )
    op.create_table(
        "effects",
        sa.Column("number", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp()),
        schema=SCHEMA,
    )
    install_delivery(SCHEMA)


def downgrade() -> None:
    uninstall_delivery(SCHEMA)
    op.drop_table("effects", schema=SCHEMA)
    op.drop_table("tasks", schema=SCHEMA)
