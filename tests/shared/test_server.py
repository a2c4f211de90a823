"""A process that is told to stop finishes what it has begun, and ends well."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.database import ROOT
from tests.holding import eventually
from tests.running import free_ports

PROGRAM = """
import asyncio, sys, time
from shared.server import give_up, serve
from shared.settings import Settings

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        print("begun", flush=True)
        await asyncio.sleep(0.5)
    if scope["path"] == "/fatal":
        give_up()
    if scope["path"] == "/busy":
        time.sleep(0.002)
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})

serve(app, Settings(), port=int(sys.argv[1]))
"""


BUSY = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(url: str, answers: list[httpx.Response]) -> None:
    """Keep the answer to one request."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        answers.append(client.get(url))


@contextlib.contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that listens, and its address."""
    url = f"http://127.0.0.1:{(port := free_ports(1))}"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )

    def listens() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert eventually(listens, within_s=20)
        yield process, url
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_begun_is_answered_and_the_status_is_zero(
    number: signal.Signals,
) -> None:
    answers: list[httpx.Response] = []
    with serving() as (process, url):
        asking = threading.Thread(target=ask, args=(f"{url}/slow", answers))
        asking.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        asking.join()
        assert process.wait(10) == 0
    assert answers[0].text == "done"
    assert "server" not in answers[0].headers


def test_a_process_that_gives_up_answers_what_has_begun_and_says_so_by_its_status() -> None:
    """Whoever starts it again, or does not, goes by that."""
    answers: list[httpx.Response] = []
    with serving() as (process, url):
        ask(f"{url}/fatal", answers)
        assert process.wait(10) == 1
    assert answers[0].text == "done"


def test_a_crowd_that_comes_at_once_is_let_in_before_the_first_have_all_they_want() -> None:
    clients = 64
    with serving() as (_, url), contextlib.ExitStack() as opened:
        poll = opened.enter_context(select.epoll())
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        crowd: dict[int, socket.socket] = {}
        for _ in range(clients):
            client = opened.enter_context(socket.create_connection(address))
            crowd[client.fileno()] = client
            poll.register(client, select.EPOLLIN)
        answers = dict.fromkeys(crowd, 0)
        for client in crowd.values():
            client.send(BUSY)
        while not all(answers.values()):
            for number, _ in poll.poll(10):
                assert crowd[number].recv(65_536).endswith(b"done")
                answers[number] += 1
                crowd[number].send(BUSY)
    # With one connection in a turn of the loop the first has nine answers before the last has one.
    assert max(answers.values()) < 6


def test_a_signal_ends_an_idle_process_at_once_and_the_clock_goes_on() -> None:
    """Nobody looks ten times a second whether there is a signal."""
    with serving() as (process, url):
        first = httpx.get(url, trust_env=False).headers["date"]
        assert eventually(
            lambda: httpx.get(url, trust_env=False).headers["date"] != first, within_s=5
        )
        watched = psutil.Process(process.pid)
        before = watched.num_ctx_switches().voluntary
        time.sleep(2)
        assert watched.num_ctx_switches().voluntary - before < 10
        process.terminate()
        # uvicorn itself waits a tenth of a second for connections to end.
        process.wait(0.9)
        assert process.returncode == 0
