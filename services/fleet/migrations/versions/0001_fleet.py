"""Trucks, devices, people, alerts, frames, events."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE SEQUENCE fleet.account_numbers;
CREATE TABLE fleet.members (
    user_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    account_number bigint NOT NULL UNIQUE DEFAULT nextval('fleet.account_numbers'),
    username text NOT NULL UNIQUE,
    email text UNIQUE,
    role text CHECK (role IN ('Admin', 'Full', 'Limited', 'Unauthorized')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE fleet.trucks (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 150),
    status text NOT NULL DEFAULT 'Active',
    legal_hold boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE fleet.devices (
    id uuid PRIMARY KEY,
    account_number bigint NOT NULL UNIQUE DEFAULT nextval('fleet.account_numbers'),
    truck_id uuid NOT NULL REFERENCES fleet.trucks,
    mac text UNIQUE,
    public_key bytea,
    role text NOT NULL DEFAULT 'Limited',
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz,
    clock_skew_ms bigint,
    last_seq bigint,
    is_offline boolean NOT NULL DEFAULT false,
    is_disabled boolean NOT NULL DEFAULT false
);
CREATE INDEX devices_of_truck ON fleet.devices (truck_id);
CREATE TABLE fleet.grants (
    user_id uuid NOT NULL REFERENCES fleet.members ON DELETE CASCADE,
    truck_id uuid NOT NULL REFERENCES fleet.trucks ON DELETE CASCADE,
    expires_at timestamptz,
    PRIMARY KEY (user_id, truck_id)
);
CREATE TABLE fleet.enrolments (
    code_sha256 bytea PRIMARY KEY,
    truck_id uuid NOT NULL REFERENCES fleet.trucks,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE TABLE fleet.used_challenges (
    nonce bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE TABLE fleet.incidents (
    id uuid PRIMARY KEY,
    truck_id uuid NOT NULL REFERENCES fleet.trucks,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    severity smallint NOT NULL,
    alerts integer NOT NULL
);
CREATE INDEX incidents_of_truck ON fleet.incidents (truck_id, started_at);
CREATE TABLE fleet.alerts (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    truck_id uuid NOT NULL REFERENCES fleet.trucks,
    device_id uuid REFERENCES fleet.devices,
    incident_id uuid NOT NULL REFERENCES fleet.incidents DEFERRABLE INITIALLY DEFERRED,
    behavior text NOT NULL,
    severity smallint NOT NULL,
    state text NOT NULL DEFAULT 'open',
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    stated_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    marks text[] NOT NULL DEFAULT '{}',
    seq bigint,
    assignee uuid,
    version integer NOT NULL DEFAULT 1,
    legal_hold boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    dedupe uuid UNIQUE,
    request_sha256 bytea
);
CREATE INDEX alerts_of_truck ON fleet.alerts (truck_id, number DESC);
CREATE INDEX alerts_of_incident ON fleet.alerts (incident_id);
CREATE INDEX alerts_by_start ON fleet.alerts (started_at);
CREATE INDEX alerts_going_on ON fleet.alerts (truck_id) WHERE ended_at IS NULL;
CREATE TABLE fleet.alert_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES fleet.alerts ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX alert_log_of_alert ON fleet.alert_log (alert_id, id);
CREATE TABLE fleet.comments (
    id uuid PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES fleet.alerts ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    author uuid NOT NULL,
    author_name text NOT NULL,
    body text NOT NULL
);
CREATE INDEX comments_of_alert ON fleet.comments (alert_id, id);
CREATE TABLE fleet.frames (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid REFERENCES fleet.alerts ON DELETE CASCADE,
    truck_id uuid NOT NULL REFERENCES fleet.trucks,
    device_id uuid NOT NULL REFERENCES fleet.devices,
    taken_at timestamptz NOT NULL,
    stated_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    frame_index integer NOT NULL,
    seq bigint,
    sha256 text NOT NULL,
    pack_sha256 text NOT NULL,
    pack_offset integer NOT NULL,
    size_bytes integer NOT NULL,
    marks text[] NOT NULL DEFAULT '{}',
    dedupe uuid NOT NULL UNIQUE
);
CREATE INDEX frames_of_truck ON fleet.frames (truck_id, taken_at DESC, number DESC);
CREATE INDEX frames_of_alert ON fleet.frames (alert_id, number DESC) WHERE alert_id IS NOT NULL;
CREATE INDEX frames_of_pack ON fleet.frames (pack_sha256);
CREATE INDEX frames_by_age ON fleet.frames (received_at);
CREATE TABLE fleet.cameras (
    truck_id uuid PRIMARY KEY REFERENCES fleet.trucks ON DELETE CASCADE,
    faults text[] NOT NULL,
    since timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    frame_number bigint NOT NULL,
    brightness real NOT NULL,
    contrast real NOT NULL,
    sharpness real NOT NULL
);
CREATE TABLE fleet.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    type text NOT NULL,
    truck_id uuid,
    alert_id uuid,
    data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_by_age ON fleet.events (at);
CREATE INDEX events_of_truck ON fleet.events (truck_id, id)
"""


def upgrade() -> None:
    for statement in _TABLES.split(";"):
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "events",
        "cameras",
        "frames",
        "comments",
        "alert_log",
        "alerts",
        "incidents",
        "used_challenges",
        "enrolments",
        "grants",
        "devices",
        "trucks",
        "members",
    ):
        op.execute(f"DROP TABLE fleet.{table}")
    op.execute("DROP SEQUENCE fleet.account_numbers")
