"""The server's log cannot fill the disk."""

from pathlib import Path

from shared.postgres.log import BoundedLog


def test_a_full_log_becomes_the_predecessor_and_the_one_before_goes(tmp_path: Path) -> None:
    """Two files at most, however much is written."""
    log = BoundedLog(tmp_path / "server.log", most_bytes=100)
    for number in range(100):
        log.write(f"line {number}\n".encode())
    log.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "server.log.1"]
    assert all(path.stat().st_size <= 110 for path in tmp_path.iterdir())
    assert (tmp_path / "server.log").read_text().endswith("line 99\n")


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """The reader of the server's messages must go on when the disk is full."""
    log = BoundedLog(tmp_path / "absent" / "server.log")
    log.write(b"lost\n")
    log.close()
