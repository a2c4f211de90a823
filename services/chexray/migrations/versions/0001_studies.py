"""Studies, usage and idempotency keys.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

SCHEMA = "chexray"


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("owner", sa.Uuid, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("image_sha256", sa.Text, nullable=False),
        sa.Column("image_bytes", sa.BigInteger, nullable=False),
        sa.Column("image_format", sa.Text, nullable=False),
        sa.Column("image_width_px", sa.BigInteger, nullable=False),
        sa.Column("image_height_px", sa.BigInteger, nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("media_token", sa.Text, nullable=False, unique=True),
        sa.Column("gate_reasons", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("gate_quarter_turns", sa.SmallInteger, nullable=False),
        sa.Column("probabilities", postgresql.ARRAY(sa.Double), nullable=False),
        sa.Column("operating_points", postgresql.ARRAY(sa.Double), nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("model_sha256", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("calibrated", sa.Boolean, nullable=False),
        sa.Column("map_rows", sa.SmallInteger),
        sa.Column("map_columns", sa.SmallInteger),
        sa.Column("map_covers_xyxy", postgresql.ARRAY(sa.Double)),
        sa.Column("map_values", sa.LargeBinary),
        schema=SCHEMA,
    )
    op.create_index(
        "studies_of_owner",
        "studies",
        ["owner", sa.text("created_at DESC"), sa.text("id DESC")],
        schema=SCHEMA,
    )
    op.create_index("studies_of_image", "studies", ["image_sha256"], schema=SCHEMA)
    op.create_table(
        "usage",
        sa.Column("owner", sa.Uuid, primary_key=True),
        sa.Column("studies", sa.BigInteger, nullable=False),
        sa.Column("image_bytes", sa.BigInteger, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Uuid, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.Text, nullable=False),
        sa.Column(
            "study_id",
            sa.Uuid,
            # Checked at commit: a request claims its key first, then adds its study.
            sa.ForeignKey(
                f"{SCHEMA}.studies.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"
            ),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys", schema=SCHEMA)
    op.drop_table("usage", schema=SCHEMA)
    op.drop_table("studies", schema=SCHEMA)
