"""What the old wire needs beside what every route does."""

from typing import TypedDict

from shared.auth_client import Auth


class CompatState(TypedDict):
    """What the lifespan opens for the old wire alone."""

    auth: Auth
    allowed_origins: frozenset[str]
    """Web origins that may call beside the old front end's and localhost."""
