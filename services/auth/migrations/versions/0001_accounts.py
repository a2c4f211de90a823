"""Accounts, sessions, keys, revocations, audit and login limits."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE auth.users (
    id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE CHECK (length(username) BETWEEN 1 AND 150),
    email text,
    password_hash text,
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    tokens_valid_from bigint NOT NULL DEFAULT 0
);
CREATE TABLE auth.sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users,
    kind text NOT NULL CHECK (kind IN ('modern', 'legacy')),
    api text,
    address text NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX sessions_of_user ON auth.sessions (user_id, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON auth.sessions (expires_at);
CREATE TABLE auth.refresh_tokens (
    id text PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES auth.sessions ON DELETE CASCADE,
    access_id text NOT NULL,
    key_id text NOT NULL,
    issued_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_at timestamptz,
    successor_id text,
    CHECK ((used_at IS NULL) = (successor_id IS NULL))
);
CREATE INDEX refresh_tokens_of_session ON auth.refresh_tokens (session_id);
CREATE TABLE auth.api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users,
    name text NOT NULL,
    hint text NOT NULL,
    digest text NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_of_user ON auth.api_keys (user_id, id);
CREATE TABLE auth.signing_keys (
    id text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    wrapped_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    activated_at timestamptz,
    retired_at timestamptz,
    expires_at timestamptz
);
CREATE UNIQUE INDEX one_next_one_active ON auth.signing_keys (state) WHERE state <> 'retired';
CREATE TABLE auth.revocations (
    id bigserial PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('token', 'session', 'user', 'key')),
    value text NOT NULL,
    issued_before timestamptz,
    inactive boolean NOT NULL DEFAULT false,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revocations_by_expiry ON auth.revocations (expires_at);
CREATE TABLE auth.audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    actor text,
    subject text,
    address text,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_event ON auth.audit (event, id);
CREATE TABLE auth.login_failures (
    account text NOT NULL,
    address text NOT NULL,
    failures integer NOT NULL,
    failed_at timestamptz NOT NULL,
    blocked_until timestamptz,
    PRIMARY KEY (account, address)
);
CREATE INDEX login_failures_by_age ON auth.login_failures (failed_at);
CREATE TABLE auth.known_addresses (
    account text NOT NULL,
    address text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (account, address)
);
CREATE TABLE auth.address_limits (
    address text PRIMARY KEY,
    free_at timestamptz NOT NULL
);
"""

_ANONYMOUS = """
INSERT INTO auth.users (id, username, roles, created_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'anonymous', '{anonymous}', now());
"""


def upgrade() -> None:
    for statement in (_TABLES + _ANONYMOUS).split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in (
        "address_limits",
        "known_addresses",
        "login_failures",
        "audit",
        "revocations",
        "signing_keys",
        "api_keys",
        "refresh_tokens",
        "sessions",
        "users",
    ):
        op.execute(f"DROP TABLE auth.{table}")
