"""Run as a script by tests: hold the database of a home until the input ends or somebody kills us.

It prints the address, or the kind of error, as its first line that begins with `=`.
"""

import json
import sys
from pathlib import Path

from shared.postgres import EmbeddedPostgres, PostgresError


def main() -> None:
    """Start, report, wait for the end of the input, stop."""
    order = json.loads(sys.argv[1])
    binaries = order.get("binaries")
    server = EmbeddedPostgres(
        Path(order["home"]),
        binaries=Path(binaries) if binaries else None,
        options=order.get("options", {}),
        say=lambda line: sys.stdout.write(f"{line}\n"),
    )
    try:
        url = server.start(timeout_s=60)
    except PostgresError as error:
        sys.stdout.write(f"={type(error).__name__}: {error}\n")
        sys.exit(3)
    sys.stdout.write(f"={url}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
