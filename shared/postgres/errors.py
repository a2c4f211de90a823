"""What can keep the embedded database from running, told so that a person can act on it."""


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the text says why and what to do."""
