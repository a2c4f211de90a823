"""The supervisor: processes of one platform live and die together."""

import os
import re
import signal
import socket
import stat
from pathlib import Path

from tests.holding import eventually, server_processes
from tests.running import Running, free_ports, is_alive
from tests.shared.supervisor.conftest import Start


def none_left(running: Running) -> bool:
    """Whether every process that the supervisor started is gone."""
    return not any(is_alive(pid) for pid in running.process_ids())


def wait_until_up(running: Running) -> None:
    """Wait for the welcome, for which only the gateway is asked, and for both stand-ins' words."""
    running.wait_until_ready()
    for name in ("auth", "gateway"):
        running.wait_for(rf"{name} +│ pid \d+")


def test_it_tells_where_it_is_and_who_may_enter(start: Start, scratch_database: str) -> None:
    """Address, administrator, and a line to paste."""
    running = start(scratch_database)
    wait_until_up(running)

    address = f"http://127.0.0.1:{running.port}"
    [password] = running.wait_for(r"password +(\w{24}) ")
    assert f"{address}/docs" in running.text
    assert re.search(r"administrator +admin\b", running.text)
    assert f"curl -s {address}/api/v2/auth/token -d grant_type=password" in running.text
    assert f"--data-urlencode 'password={password}'" in running.text


def test_the_password_is_made_for_auth_alone_and_told_once(
    start: Start, scratch_database: str, home: Path
) -> None:
    """No other process learns it, and no file keeps it."""
    running = start(scratch_database)
    wait_until_up(running)

    [password] = running.wait_for(r"password +(\w{24}) ")
    assert f"auth     │ told {password}" in running.text
    assert "gateway  │ told nothing" in running.text
    assert eventually(lambda: not (home / "first-password").exists(), within_s=2)


def test_a_password_that_was_never_told_is_told_at_the_next_start(
    start: Start, scratch_database: str, home: Path
) -> None:
    """A start may be killed after auth made the administrator and before anybody saw this."""
    path = home / "first-password"
    path.write_text("waiting-password")
    running = start(scratch_database)
    wait_until_up(running)

    running.wait_for(r"password +waiting-password ")


def test_a_preset_password_is_named_and_never_shown(start: Start, scratch_database: str) -> None:
    """Logs outlive terminals."""
    preset = "chosen by hand"
    running = start(scratch_database, environment={"VEDETTE_ADMIN_PASSWORD": preset})
    wait_until_up(running)
    running.wait_for("Ctrl-C")

    welcome = running.text.partition("Vedette is ready")[2].partition("Ctrl-C")[0]
    assert '--data-urlencode "password=$VEDETTE_ADMIN_PASSWORD"' in welcome
    assert preset not in welcome
    assert f"auth     │ told {preset}" in running.text
    assert "gateway  │ told nothing" in running.text


def test_sigterm_stops_every_process(start: Start, scratch_database: str) -> None:
    """A clean end: status 0 and nothing left."""
    running = start(scratch_database, auth=["--grandchild"])
    wait_until_up(running)

    assert running.end() < 10
    assert running.process.returncode == 0
    assert len(running.process_ids()) == 3
    assert none_left(running)


def test_ctrl_c_stops_a_process_that_does_not_listen(start: Start, scratch_database: str) -> None:
    """After its grace it is killed; the whole takes less than ten seconds by default."""
    running = start(scratch_database, auth=["--stubborn"], gateway=["--stubborn"])
    wait_until_up(running)

    assert running.end(signal.SIGINT) < 10
    assert running.process.returncode == 0
    assert none_left(running)


def test_a_second_ctrl_c_stops_at_once(start: Start, scratch_database: str) -> None:
    """Whoever asks twice does not want to wait for the grace."""
    patient = {"VEDETTE_STOP_GRACE_S": "60"}
    running = start(scratch_database, auth=["--stubborn"], environment=patient)
    wait_until_up(running)
    running.process.send_signal(signal.SIGINT)
    running.wait_for("once more to stop at once")

    assert running.end(signal.SIGINT) < 3
    assert none_left(running)


def test_a_killed_supervisor_leaves_no_process(start: Start, home: Path) -> None:
    """After kill -9 the kernel ends the services and the database."""
    running = start(None)
    wait_until_up(running)
    assert server_processes(home)

    running.end(signal.SIGKILL)

    assert eventually(lambda: none_left(running), within_s=3)
    assert eventually(lambda: server_processes(home) == [], within_s=5)


def test_a_killed_service_serves_again_within_three_seconds(
    start: Start, scratch_database: str
) -> None:
    """The supervisor notices the end itself; nobody polls for it."""
    running = start(scratch_database)
    wait_until_up(running)
    [first] = running.wait_for(r"auth     │ pid (\d+)")
    os.kill(int(first), signal.SIGKILL)

    running.wait_for(r"auth     │ was ended by SIGKILL; it is started again now", within_s=3)
    pids = running.wait_for(r"auth     │ pid (\d+)", times=2, within_s=3)
    assert len(set(pids)) == 2

    def serves() -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", running.port + 1)) == 0

    assert eventually(serves, within_s=3)


def test_what_a_killed_service_had_started_ends_with_it(
    start: Start, scratch_database: str
) -> None:
    """A new service must not meet the workers of the old one."""
    running = start(scratch_database, auth=["--grandchild"])
    wait_until_up(running)
    [grandchild] = running.wait_for(r"grandchild (\d+)")
    [service] = running.wait_for(r"auth     │ pid (\d+)")
    os.kill(int(service), signal.SIGKILL)

    assert eventually(lambda: not is_alive(int(grandchild)), within_s=3)


def test_a_killed_database_is_started_again(start: Start, home: Path) -> None:
    """The services reconnect by themselves; the supervisor brings the server back."""
    running = start(None)
    wait_until_up(running)
    lock = home / "postgres" / "data" / "postmaster.pid"
    first = int(lock.read_text().split()[0])
    os.kill(first, signal.SIGKILL)

    running.wait_for("postgres │ the server is gone; it is started again", within_s=5)
    running.wait_for("ready to accept connections", times=2, within_s=20)
    assert is_alive(int(lock.read_text().split()[0]))


def test_a_service_that_never_starts_ends_the_platform(start: Start, scratch_database: str) -> None:
    """Starting it for ever would hide a wrong setting."""
    running = start(scratch_database, auth=["--fail"], gateway=["--unready"])

    assert running.process.wait(20) == 1
    running.wait_for("failed: auth ended 5 times before the platform was ready")
    assert "auth     │ a setting is missing" in running.text
    assert none_left(running)


def test_a_taken_port_is_named(start: Start, scratch_database: str) -> None:
    """Before anything is started."""
    port = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        running = start(scratch_database, port=port)

        assert running.process.wait(20) == 1
    running.wait_for(rf"failed: Another program listens on port {port + 1} \(auth\)")


def test_one_home_runs_one_platform(start: Start, scratch_database: str) -> None:
    """The second names the first."""
    first = start(scratch_database)
    wait_until_up(first)
    second = start(scratch_database)

    assert second.process.wait(20) == 1
    second.wait_for(rf"already running \(process {first.process.pid}\)")


def test_a_database_that_does_not_answer_ends_the_start(start: Start) -> None:
    """With the reason, and without a trace of the program."""
    running = start("postgresql://vedette@127.0.0.1:1/vedette", environment={
        "VEDETTE_DATABASE_PATIENCE_S": "0.2",
    })  # fmt: skip

    assert running.process.wait(20) == 1
    running.wait_for("failed: The database does not answer")
    assert "Traceback" not in running.text


def test_ctrl_c_during_the_start_stops_it(start: Start, home: Path) -> None:
    """Even while the database is being made."""
    running = start(None)
    running.wait_for("making the database, once")

    assert running.end(signal.SIGINT) < 10
    assert server_processes(home) == []


def test_keys_are_made_for_this_user_alone(start: Start, scratch_database: str, home: Path) -> None:
    """Before the first service starts."""
    wait_until_up(start(scratch_database))

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / "keys").iterdir()}
    assert modes == {0o600}
