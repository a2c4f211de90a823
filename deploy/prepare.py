"""Makes what deploy/compose.yaml needs and git must not hold: key files and passwords."""

import os
import secrets
from pathlib import Path

from shared.keys import ensure_keys

DEPLOY = Path(__file__).parent


def main() -> None:
    """Make what is missing; what exists stays, so that it may be run again."""
    ensure_keys(DEPLOY / "secrets")
    environment = DEPLOY / ".env"
    if environment.exists():
        print(f"{environment} exists and stays as it is.")  # noqa: T201
        return
    lines = {
        "COMPOSE_PROFILES": "cpu",
        # Secrets are mounted with this host's permissions, so the containers run as their owner.
        "VEDETTE_UID": os.getuid() or 65532,
        "VEDETTE_GID": os.getgid() or 65532,
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "OBJECTS_PASSWORD": secrets.token_urlsafe(24),
        "VEDETTE_ADMIN_PASSWORD": secrets.token_urlsafe(18),
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    with os.fdopen(os.open(environment, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if os.getuid() == 0:
        for path in (DEPLOY / "secrets").iterdir():
            os.chown(path, 65532, 65532)
        os.chown(DEPLOY / "secrets", 65532, 65532)
    print(f"Wrote {environment}; the administrator's password is in it.")  # noqa: T201


if __name__ == "__main__":
    main()
