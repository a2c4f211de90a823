"""Datasets, tasks, chunks, profiles, outliers and reports.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.jobs.schema import create_job_table, install_delivery, uninstall_delivery

revision = "0001"
down_revision = None

SCHEMA = "bqat"


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("modality", sa.Text),
        sa.Column("options", sa.JSON, nullable=False),
        _now("created_at"),
        _now("modified_at"),
        schema=SCHEMA,
    )
    op.create_index("datasets_by_name", "datasets", ["tenant", "name"], unique=True, schema=SCHEMA)
    create_job_table(
        "tasks",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        _dataset(nullable=True),
        sa.Column("modality", sa.Text),
        sa.Column("engine", sa.Text),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("elapsed_s", sa.Double, nullable=False, server_default="0"),
        sa.Column("is_listed", sa.Boolean, nullable=False, server_default=sa.false()),
        _now("modified_at"),
        schema=SCHEMA,
    )
    op.create_index("tasks_of_dataset", "tasks", ["dataset_id"], schema=SCHEMA)
    op.create_index("tasks_of_tenant", "tasks", ["tenant", "number"], schema=SCHEMA)
    op.create_table(
        "chunks",
        sa.Column(
            "task_number",
            sa.BigInteger,
            sa.ForeignKey(f"{SCHEMA}.tasks.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("first_position", sa.Integer, nullable=False),
        sa.Column("files", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("keys", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("is_done", sa.Boolean, nullable=False, server_default=sa.false()),
        schema=SCHEMA,
    )
    op.create_index("chunks_by_key", "chunks", ["keys"], schema=SCHEMA, postgresql_using="gin")
    op.create_table(
        "profiles",
        # A profile outlives the task that made it: the old API deletes tasks and keeps profiles.
        sa.Column("task_number", sa.BigInteger, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        _dataset(),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("profile", sa.JSON, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("has_failed", sa.Boolean, nullable=False),
        schema=SCHEMA,
    )
    op.create_index(
        "profiles_of_dataset",
        "profiles",
        ["dataset_id", "task_number", "position"],
        schema=SCHEMA,
    )
    op.create_index("profiles_by_tag", "profiles", ["dataset_id", "tag"], schema=SCHEMA)
    op.create_table(
        "detections",
        _dataset(primary_key=True),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("detector", sa.Text, nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("contamination", sa.Double, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("unusable", sa.Integer, nullable=False),
        _now("created_at"),
        schema=SCHEMA,
    )
    op.create_table(
        "outliers",
        sa.Column(
            "dataset_id",
            sa.Uuid,
            sa.ForeignKey(f"{SCHEMA}.detections.dataset_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("task_number", sa.BigInteger, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("contributions", sa.JSON, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("outliers_by_score", "outliers", ["dataset_id", "score"], schema=SCHEMA)
    op.create_table(
        "reports",
        _dataset(primary_key=True),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        _now("created_at"),
        schema=SCHEMA,
    )
    install_delivery(SCHEMA)


def downgrade() -> None:
    uninstall_delivery(SCHEMA)
    for table in (
        "reports",
        "outliers",
        "detections",
        "profiles",
        "chunks",
        "tasks",
        "datasets",
    ):
        op.drop_table(table, schema=SCHEMA)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _dataset(*, nullable: bool = False, primary_key: bool = False) -> sa.Column[object]:
    return sa.Column(
        "dataset_id",
        sa.Uuid,
        sa.ForeignKey(f"{SCHEMA}.datasets.id", ondelete="CASCADE"),
        nullable=nullable,
        primary_key=primary_key,
    )
