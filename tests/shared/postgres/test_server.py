"""The embedded server: every way it starts, and every way it or its parent may die."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import threading
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from shared.db import create_engine
from shared.lifeline import Account
from shared.postgres import EmbeddedPostgres, HomeInUse, PostgresError, make_home
from shared.postgres.cluster import Cluster
from shared.postgres.home import server_account
from tests.holding import (
    HASTY,
    answer_of,
    eventually,
    holder,
    query,
    server_processes,
    start_holder,
    wheel_programs,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="users are changed only as root")
KEEP_A_ROW = "CREATE TABLE kept AS SELECT 42 AS answer; CHECKPOINT"


def test_a_stopped_server_leaves_no_process_and_keeps_its_rows(
    place: Path, account: Account | None
) -> None:
    """A clean stop and a second start."""
    home = place / "home"
    with holder(home, account=account) as first:
        query(first.answer, KEEP_A_ROW, account)
        assert first.release() == 0
    assert server_processes(home) == []

    with holder(home, account=account) as second:
        assert query(second.answer, "SELECT answer FROM kept", account) == "42"


def test_the_server_dies_with_a_killed_parent_and_comes_back_with_its_rows(
    place: Path, account: Account | None
) -> None:
    """A kill -9 leaves the launcher no last word; the kernel speaks for it."""
    home = place / "home"
    with holder(home, account=account) as first:
        query(first.answer, KEEP_A_ROW, account)
        assert server_processes(home)
        first.kill()
        assert eventually(lambda: server_processes(home) == [], within_s=5)

    with holder(home, account=account) as second:
        assert query(second.answer, "SELECT answer FROM kept", account) == "42"


def test_a_server_that_outlived_its_parent_is_stopped_first(
    place: Path, account: Account | None
) -> None:
    """A paused server does not hear that its parent died; the next start ends it."""
    home = place / "home"
    with holder(home, account=account) as first:
        query(first.answer, KEEP_A_ROW, account)
        orphans = server_processes(home)
        for pid in orphans:
            os.kill(pid, signal.SIGSTOP)
        first.kill()

    with holder(home, account=account) as second:
        assert query(second.answer, "SELECT answer FROM kept", account) == "42"
        assert not set(orphans) & set(server_processes(home))


def test_a_first_start_that_was_killed_half_way_is_begun_again(
    place: Path, account: Account | None
) -> None:
    """It is made beside its final place, which therefore is whole or absent."""
    home = place / "home"
    partial = home / "postgres" / "data.partial"
    process = start_holder(home, account=account)
    assert eventually(lambda: (partial / "PG_VERSION").exists(), within_s=20)
    process.kill()
    process.communicate(timeout=10)
    assert not (home / "postgres" / "data").exists()

    with holder(home, account=account) as second:
        assert query(second.answer, "SELECT 1", account) == "1"
    assert not partial.exists()


def test_of_several_first_starts_at_once_one_serves_and_the_others_say_why(
    place: Path, account: Account | None
) -> None:
    """One home has one server."""
    processes = [start_holder(place / "home", account=account) for _ in range(4)]
    answers = sorted(answer_of(process) for process in processes)
    for process in processes:
        process.communicate("", timeout=30)

    assert [answer.split(":")[0] for answer in answers] == ["HomeInUse"] * 3 + ["postgresql"]
    serving = next(p for p in processes if p.returncode == 0)
    assert all(f"process {serving.pid}." in answer for answer in answers[:3])


def test_a_home_whose_holder_has_yet_to_write_its_number_is_waited_for(place: Path) -> None:
    """The lock is taken a moment before the file says by whom."""
    home = make_home(place / "home")
    lock = home / "postgres" / "lock"
    lock.parent.mkdir(mode=0o711)
    with lock.open("w+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("999999999\n")  # One that is gone.
        file.flush()
        late = threading.Timer(0.2, lambda: lock.write_text(f"{os.getpid()}\n"))
        late.start()
        with pytest.raises(HomeInUse, match=f"process {os.getpid()}\\."):
            EmbeddedPostgres(home).start()
        late.join()


def test_a_lock_file_that_names_an_unrelated_process_is_stale(
    place: Path, account: Account | None
) -> None:
    """In a container the old server's number may belong to anything after a restart."""
    home = place / "home"
    with holder(home, account=account):
        pass
    unrelated = subprocess.Popen(
        ["sleep", "60"],
        user=None if server_account() is None else 65534 if account is None else account.uid,
    )
    try:
        lock = home / "postgres" / "data" / "postmaster.pid"
        lock.write_text(f"{unrelated.pid}\n{lock.parent}\n1700000000\n5432\n\n\n\nready\n")
        with holder(home, account=account) as second:
            assert query(second.answer, "SELECT 1", account) == "1"
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_killed_server_is_started_again_by_its_holder(our_place: Path) -> None:
    """`start` may be called again after the server has died."""
    server = EmbeddedPostgres(our_place / "home")
    try:
        url = server.start()
        query(url, KEEP_A_ROW)
        assert server.process_id is not None
        os.kill(server.process_id, signal.SIGKILL)
        assert eventually(lambda: not server.is_running, within_s=5)

        assert server.start() == url
        assert query(url, "SELECT answer FROM kept") == "42"
    finally:
        server.stop()
    assert server_processes(our_place / "home") == []


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "with spaces",
        "comma, here",
        "a+b%20&c=d?e#f",
        "quote\"s 'n' $HOME \\ back",
        "Röntgen-写真",
        "deep/" + "long-folder-name-" * 9,
    ],
)
async def test_the_address_connects_whatever_the_folder_is_called(
    our_place: Path, name: str
) -> None:
    """asyncpg, SQLAlchemy and libpq read the same URL."""
    server = EmbeddedPostgres(our_place / name, options=HASTY)
    url = server.start()
    try:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_user") == "vedette"
        await connection.close()
        engine = create_engine(url)
        async with engine.connect() as through_engine:
            assert (await through_engine.execute(text("SELECT 7"))).scalar_one() == 7
        await engine.dispose()
        assert query(url, "SELECT current_database()") == "vedette"
    finally:
        server.stop()


def test_the_server_has_checksums_and_durable_commits_and_no_network(our_place: Path) -> None:
    """What the platform promises about its data rests on these settings."""
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "listen_addresses": "",
        "shared_buffers": "128MB",
        "max_connections": "200",
        "jit": "off",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    with EmbeddedPostgres(our_place / "home") as url:
        found = {name: query(url, f"SHOW {name}") for name in expected}
        sockets = our_place / "home" / "postgres" / "socket"
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700

    assert found == expected


def test_data_of_another_major_version_is_named_and_not_touched(our_place: Path) -> None:
    """The message says what to do; the data stay as they are."""
    home = our_place / "home"
    with EmbeddedPostgres(home, options=HASTY):
        pass
    version = home / "postgres" / "data" / "PG_VERSION"
    version.write_text("12\n")

    with pytest.raises(PostgresError, match=r"made by PostgreSQL 12.*VEDETTE_PG_BIN"):
        EmbeddedPostgres(home, options=HASTY).start()


def test_a_folder_without_programs_is_named(our_place: Path) -> None:
    """VEDETTE_PG_BIN was chosen by hand, so nothing else is tried."""
    with pytest.raises(PostgresError, match="VEDETTE_PG_BIN"):
        EmbeddedPostgres(our_place / "home", binaries=our_place).start()


def test_a_server_that_cannot_start_says_its_own_last_words(our_place: Path) -> None:
    """What PostgreSQL wrote is in the message, and nothing is left running or locked."""
    home = our_place / "home"
    with pytest.raises(PostgresError, match="invalid value for parameter"):
        EmbeddedPostgres(home, options=HASTY | {"shared_buffers": "plenty"}).start()

    with EmbeddedPostgres(home, options=HASTY) as url:
        assert query(url, "SELECT 1") == "1"


def test_the_programs_of_the_system_serve_as_well(our_place: Path) -> None:
    """The fallback where there is no wheel for a platform."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no PostgreSQL of the system here")
    with EmbeddedPostgres(our_place / "home", binaries=folders[-1], options=HASTY) as url:
        assert query(url, "SHOW data_checksums") == "on"


@needs_root
def test_a_home_that_nobody_cannot_reach_is_refused_by_name(our_place: Path) -> None:
    """Nothing is opened to make it work."""
    closed = our_place / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(PostgresError, match=f"pass through {closed} "):
        EmbeddedPostgres(closed / "home").start()

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_programs_that_nobody_cannot_reach_are_copied_beside_the_database(our_place: Path) -> None:
    """A virtual environment below /root is the usual case; its permissions stay as they are."""
    closed = our_place / "closed"
    package = wheel_programs().parent.parent
    for folder in package.parent.glob(f"{package.name}*"):
        if "info" not in folder.suffix:
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    closed.chmod(0o700)
    home = our_place / "home"

    programs = closed / package.name / "pginstall" / "bin"
    with EmbeddedPostgres(home, binaries=programs, options=HASTY) as url:
        assert query(url, "SELECT 1") == "1"
        postmaster = Cluster(home / "postgres" / "data").postmaster_id()
        program = str(Path(f"/proc/{postmaster}/exe").readlink())

    assert program.startswith(f"{home}/postgres/programs-")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_a_user_without_a_name_is_told_so(our_place: Path) -> None:
    """Containers may run a process as any number; initdb cannot."""
    our_place.chmod(0o777)
    with holder(our_place / "home", account=Account(54321, 54321)) as attempt:
        assert attempt.answer.startswith("PostgresError: PostgreSQL needs a user with a name")


@needs_root
def test_no_account_and_no_existing_permission_is_changed(our_place: Path) -> None:
    """The wheels' own wrappers create users and open folders; this launcher does neither."""

    def state() -> list[object]:
        folders = [our_place, *our_place.parents, wheel_programs(), *wheel_programs().parents]
        return [
            Path("/etc/passwd").read_bytes(),
            Path("/etc/group").read_bytes(),
            *[(folder.stat().st_mode, folder.stat().st_uid) for folder in folders],
        ]

    before = state()
    with EmbeddedPostgres(our_place / "home", options=HASTY) as url:
        owner = query(url, "SELECT pg_read_file('/proc/self/status') ~ 'Uid:\\s+65534'")

    assert state() == before
    assert owner == "t"


@needs_root
def test_another_user_cannot_connect(our_place: Path) -> None:
    """Not even `nobody`, whom the server runs as, may become the owner of the data."""
    with EmbeddedPostgres(our_place / "home", options=HASTY) as url:
        for uid in (65534, 54321):
            attempt = subprocess.run(
                [wheel_programs() / "psql", "-XAtc", "SELECT 1", url],
                capture_output=True,
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
            )
            assert attempt.returncode != 0
