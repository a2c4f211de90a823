"""Run as a script by tests in the place of a service: it listens, answers, and can be stubborn."""

import argparse
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ready(BaseHTTPRequestHandler):
    """Answers every question with one status."""

    status = 200

    def do_GET(self) -> None:
        """Say who answers."""
        body = str(os.getpid()).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Say nothing."""


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--grandchild", action="store_true")
    parser.add_argument("--unready", action="store_true")
    options = parser.parse_args()
    if options.fail:
        sys.exit("a setting is missing")
    if options.unready:
        Ready.status = 503
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.grandchild:
        sleeper = subprocess.Popen(["sleep", "600"])
        sys.stdout.write(f"grandchild {sleeper.pid}\n")
    password = os.environ.get("VEDETTE_ADMIN_PASSWORD", "nothing")
    sys.stdout.write(f"told {password}\npid {os.getpid()}\n")
    sys.stdout.flush()
    ThreadingHTTPServer(("127.0.0.1", options.port), Ready).serve_forever()


if __name__ == "__main__":
    main()
