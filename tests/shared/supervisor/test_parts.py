"""The parts of the supervisor that need no process."""

import os
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from shared.supervisor.administrator import FirstPassword, welcome
from shared.supervisor.child import describe_end, restart_delay_s
from shared.supervisor.output import Output
from shared.supervisor.probe import base_url, taken_ports
from shared.supervisor.programs import (
    SERVICE_PROGRAMS,
    Program,
    ports,
    replica_urls,
    service_programs,
    threads_of,
)
from shared.supervisor.settings import SupervisorSettings

PASSWORD = "abcDEF123"


def test_the_first_restart_waits_for_nothing_and_later_ones_longer_and_longer() -> None:
    """Back within three seconds, and no storm when it keeps dying."""
    delays = [restart_delay_s(count) for count in range(1, 9)]

    assert delays == [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert restart_delay_s(10_000) == 5.0


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "ended with status 0"), (-9, "was ended by SIGKILL"), (-99, "was ended by signal 99")],
)
def test_an_end_is_told_in_words(code: int, text: str) -> None:
    """What the terminal shows."""
    assert describe_end(code) == text


def test_programs_that_infer_divide_the_cores() -> None:
    """The others compute little and may use what is free."""
    first, second = Program("a", ("a",), infers=True), Program("b", ("b",), infers=True)
    other = Program("c", ("c",))
    programs = [first, second, other]

    assert [threads_of(program, programs, 8) for program in programs] == [4, 4, 8]
    assert threads_of(first, programs, 1) == 1


def test_every_program_listens_where_its_settings_say() -> None:
    """The gateway first, the services behind it."""
    settings = SupervisorSettings(port=9000)

    listening = ports(settings)
    assert listening["gateway"] == ("127.0.0.1", 9000)
    assert {name: port for name, (_, port) in listening.items() if name != "gateway"} == {
        name: settings.service_port(name) for name in SERVICE_PROGRAMS
    }


def test_a_service_with_several_processes_has_a_port_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is where it always was; the others lie behind all services."""
    monkeypatch.setenv("VEDETTE_REPLICAS", "scancer=2, chexray=3")
    settings = SupervisorSettings(port=9000)

    programs = {program.name: program.own for program in service_programs(settings)}
    assert programs["scancer"] == {} == programs["auth"]
    assert programs["scancer-1"] == {"VEDETTE_LISTEN_PORT": "9009"}
    assert programs["chexray-2"] == {"VEDETTE_LISTEN_PORT": "9008"}
    listening = [port for _, port in ports(settings).values()]
    assert len(set(listening)) == len(listening) == len(programs) + 1
    assert replica_urls(settings) == {
        "VEDETTE_SCANCER_URL": "http://127.0.0.1:9006,http://127.0.0.1:9009",
        "VEDETTE_CHEXRAY_URL": "http://127.0.0.1:9002,http://127.0.0.1:9007,http://127.0.0.1:9008",
    }


def test_a_replica_of_fleet_is_told_its_place() -> None:
    """The ids of its live connections end with it."""
    programs = service_programs(SupervisorSettings(port=9000, replicas={"fleet": 2}))

    [replica] = [program for program in programs if program.name == "fleet-1"]
    assert replica.own == {"VEDETTE_LISTEN_PORT": "9007", "VEDETTE_FLEET_REPLICA": "1"}


def test_addresses_that_somebody_set_stay() -> None:
    """There may be processes on other machines."""
    settings = SupervisorSettings(scancer_url="http://elsewhere:1", replicas={"scancer": 2})
    assert replica_urls(settings) == {}


@pytest.mark.parametrize("text", ["auth=2", "bqat=2", "scancer", "scancer=0", "scancer=two"])
def test_replicas_that_cannot_be_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name or number, before anything starts."""
    monkeypatch.setenv("VEDETTE_REPLICAS", text)
    with pytest.raises(ValidationError):
        SupervisorSettings()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 (nothing listens)
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("example.org", "http://example.org:8000"),
    ],
)
def test_the_address_that_is_shown_can_be_asked(host: str, url: str) -> None:
    """A wildcard is no address."""
    assert base_url(host, 8000) == url


def test_a_port_that_somebody_listens_on_is_taken() -> None:
    """A free one is not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        assert taken_ports({"gateway": ("127.0.0.1", port), "auth": ("127.0.0.1", 0)}) == {
            "gateway": port
        }


def test_the_password_waits_in_a_private_file_until_it_is_told(tmp_path: Path) -> None:
    """The same one, however often the start is killed."""
    first = FirstPassword(tmp_path / "first-password")
    password = first.get()

    assert first.path.stat().st_mode & 0o777 == 0o600
    assert len(password) == 24
    assert FirstPassword(first.path).get() == password
    first.told()
    assert not first.is_waiting()
    assert first.get() != password


def test_a_later_start_shows_a_line_that_needs_no_password() -> None:
    """It was told once and is known nowhere."""
    shown = welcome(Settings(port=9000), None, preset=False)

    assert "curl -s http://127.0.0.1:9000/readyz" in shown
    assert "password" not in shown


def test_the_welcome_tells_a_made_password_and_never_a_preset_one() -> None:
    """Both lines work when they are pasted."""
    assert f"--data-urlencode 'password={PASSWORD}'" in welcome(Settings(), PASSWORD, preset=False)
    preset = welcome(Settings(), PASSWORD, preset=True)
    assert PASSWORD not in preset
    assert '--data-urlencode "password=$VEDETTE_ADMIN_PASSWORD"' in preset


def written(output: Output, reading: int, writing: int) -> bytes:
    """Everything that came through a pipe."""
    output.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        return stream.read()


def test_every_line_begins_with_its_writer() -> None:
    """Bytes that are no text pass as they are."""
    reading, writing = os.pipe()
    output = Output(writing)
    output.line("auth", "ready")
    output.line("chexray", b"\xff\n")
    output.plain("plain")

    assert written(output, reading, writing).splitlines() == [
        "auth     │ ready".encode(),
        "chexray  │ ".encode() + b"\xff",
        b"plain",
    ]


def test_a_paused_terminal_pauses_nobody() -> None:
    """The oldest lines are dropped, and it is said how many."""
    reading, writing = os.pipe()
    output = Output(writing)
    for number in range(60_000):
        output.line("auth", f"line {number}")
    os.set_blocking(reading, False)
    text = b""
    while b"line 59999\n" not in text:
        try:
            text += os.read(reading, 1 << 16)
        except BlockingIOError:
            continue

    assert b"lines were dropped" in text
    output.close()
    os.close(reading)
    os.close(writing)


def test_a_reader_that_left_stops_nobody() -> None:
    """`vedette up | head` goes on without an audience."""
    reading, writing = os.pipe()
    output = Output(writing)
    os.close(reading)
    for number in range(100):
        output.line("auth", f"line {number}")
    output.close()
    os.close(writing)
