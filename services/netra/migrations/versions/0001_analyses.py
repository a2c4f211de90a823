"""Analyses as jobs, examinations, masks, credits with their ledger, webhooks, idempotency keys.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.jobs.schema import create_job_table, install_delivery, uninstall_delivery
from shared.webhooks.schema import create_webhook_tables, drop_webhook_tables

revision = "0001"
down_revision = None

SCHEMA = "netra"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    op.create_table(
        "examinations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner", sa.Uuid, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        _text("patient_id"),
        _text("patient_name"),
        sa.Column("patient_birth_date", sa.Date),
        _text("patient_sex"),
        _now("created_at"),
        schema=SCHEMA,
    )
    op.create_index(
        "examinations_of_owner",
        "examinations",
        ["owner", "reference"],
        unique=True,
        schema=SCHEMA,
    )
    create_job_table(
        "analyses",
        sa.Column("owner", sa.Uuid, nullable=False),
        sa.Column("job_token", sa.Text, nullable=False, unique=True),
        sa.Column("username", sa.Text, nullable=False),
        _text("label"),
        _text("image_name"),
        sa.Column(
            "examination_id",
            sa.Uuid,
            sa.ForeignKey(f"{SCHEMA}.examinations.id", ondelete="SET NULL"),
        ),
        sa.Column("eye", sa.Text),
        sa.Column("image_sha256", sa.Text, nullable=False),
        sa.Column("image_bytes", sa.BigInteger, nullable=False),
        sa.Column("image_format", sa.Text, nullable=False),
        sa.Column("image_width_px", sa.Integer),
        sa.Column("image_height_px", sa.Integer),
        sa.Column("decision", postgresql.JSONB),
        schema=SCHEMA,
    )
    for name, columns in (
        ("analyses_of_owner", "owner, created_at DESC, id DESC"),
        ("analyses_of_label", "owner, label, created_at DESC, id DESC"),
        ("analyses_of_image", "image_sha256"),
        ("analyses_of_examination", "examination_id"),
    ):
        op.execute(f"CREATE INDEX {name} ON {SCHEMA}.analyses ({columns})")
    install_delivery(SCHEMA)
    op.create_table(
        "masks",
        sa.Column(
            "analysis_id",
            sa.Uuid,
            sa.ForeignKey(f"{SCHEMA}.analyses.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("columns", sa.Integer, nullable=False),
        sa.Column("bits", sa.LargeBinary, nullable=False),
        schema=SCHEMA,
    )
    _create_credits()
    create_webhook_tables(schema=SCHEMA)
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Uuid, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.Text, nullable=False),
        sa.Column(
            "analysis_id",
            sa.Uuid,
            # Checked at commit: a request claims its key first, then adds its analysis.
            sa.ForeignKey(
                f"{SCHEMA}.analyses.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"
            ),
            nullable=False,
            index=True,
        ),
        _now("created_at"),
        schema=SCHEMA,
    )


def _create_credits() -> None:
    op.create_table(
        "accounts",
        sa.Column("owner", sa.Uuid, primary_key=True),
        sa.Column("credits", sa.BigInteger, sa.CheckConstraint("credits >= 0"), nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "ledger",
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("owner", sa.Uuid, nullable=False),
        sa.Column(
            "kind",
            sa.Text,
            sa.CheckConstraint("kind IN ('grant', 'charge', 'refund')"),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger, nullable=False),
        # No foreign key: what was paid is remembered when the analysis is deleted.
        sa.Column("analysis_id", sa.Uuid),
        _now("at"),
        schema=SCHEMA,
    )
    op.create_index("ledger_of_owner", "ledger", ["owner", sa.text("number DESC")], schema=SCHEMA)
    op.create_index(
        "ledger_once",
        "ledger",
        ["analysis_id", "kind"],
        unique=True,
        postgresql_where=sa.text("analysis_id IS NOT NULL"),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for table in ("idempotency_keys", "ledger", "accounts", "masks"):
        op.drop_table(table, schema=SCHEMA)
    drop_webhook_tables(schema=SCHEMA)
    uninstall_delivery(SCHEMA)
    op.drop_table("analyses", schema=SCHEMA)
    op.drop_table("examinations", schema=SCHEMA)
