"""The embedded PostgreSQL: one server per home folder, started and stopped with the platform."""

from shared.postgres.errors import PostgresError
from shared.postgres.home import make_home
from shared.postgres.server import EmbeddedPostgres, HomeInUse, running_url

__all__ = ["EmbeddedPostgres", "HomeInUse", "PostgresError", "make_home", "running_url"]
