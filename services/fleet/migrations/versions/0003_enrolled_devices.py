"""Which device an enrolment code was used by, so that it may ask again for a lost answer."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE fleet.enrolments ADD COLUMN device_id uuid REFERENCES fleet.devices")


def downgrade() -> None:
    op.execute("ALTER TABLE fleet.enrolments DROP COLUMN device_id")
