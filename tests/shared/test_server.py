"""A process that is told to stop finishes what it has begun, and ends well."""

import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.database import ROOT
from tests.holding import eventually
from tests.running import free_ports

PROGRAM = """
import asyncio, sys
from shared.server import serve
from shared.settings import Settings

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})

serve(app, Settings(), port=int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_begun_is_answered_and_the_status_is_zero(
    number: signal.Signals,
) -> None:
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], cwd=ROOT)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            answers.append(client.get(f"{url}/slow"))

    def listens() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert eventually(listens, within_s=20)
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)
        process.send_signal(number)
        asking.join()
        assert process.wait(10) == 0
    finally:
        process.kill()
    assert answers[0].text == "done"
    assert "server" not in answers[0].headers
