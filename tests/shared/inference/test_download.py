"""Downloads: exactly the pinned bytes, resumed where they broke off, from nowhere private."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.inference.download import Downloader, DownloadRefused, Fault, Pinned
from tests.shared.inference.weights_server import WeightsServer, serving

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
WANTED = Pinned("https://weights.example/net.onnx", SHA256, len(BODY))


def downloader(folder: Path, mirror: str | None = None, attempts: int = 4) -> Downloader:
    """One that does not wait between its attempts, and asks no resolver."""

    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no resolver")

    return Downloader(
        folder / "downloads",
        mirror,
        attempts=attempts,
        pause_s=0,
        resolve=unknown,
        is_proxied=lambda address: False,
    )


def fault_of(downloader: Downloader, wanted: Pinned = WANTED) -> Fault:
    """Why this download is given up."""
    with pytest.raises(DownloadRefused) as refused:
        downloader.fetch(wanted)
    return refused.value.fault


def test_a_file_is_fetched_and_its_progress_told(tmp_path: Path) -> None:
    told: list[int] = []
    with serving(WeightsServer(BODY)) as server:
        path = downloader(tmp_path, server.url).fetch(WANTED, told.append)

    assert path.read_bytes() == BODY
    assert told == sorted(told)
    assert told[-1] == len(BODY)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    with serving(WeightsServer(BODY)) as server:
        first = downloader(tmp_path, server.url).fetch(WANTED)
        second = downloader(tmp_path, server.url).fetch(WANTED)

    assert first == second
    assert len(server.asked) == 1


def test_a_transfer_that_breaks_off_is_continued(tmp_path: Path) -> None:
    with serving(WeightsServer(BODY, breaks_after=100_000)) as server:
        path = downloader(tmp_path, server.url).fetch(WANTED)

    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_command_continues_what_an_earlier_one_began(tmp_path: Path) -> None:
    with serving(WeightsServer(BODY, breaks_after=0)) as server:
        downloads = downloader(tmp_path, server.url, attempts=1)
        fault = fault_of(downloads)
        (tmp_path / "downloads" / f"{SHA256}.part").write_bytes(BODY[:1234])
        server.breaks_after = None
        path = downloader(tmp_path, server.url).fetch(WANTED)

    assert fault is Fault.UNREACHABLE
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=1234-"]


def test_a_server_that_knows_no_ranges_begins_again(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{SHA256}.part").write_bytes(b"something else")
    with serving(WeightsServer(BODY, knows_ranges=False)) as server:
        path = downloader(tmp_path, server.url).fetch(WANTED)

    assert path.read_bytes() == BODY


@pytest.mark.parametrize("beginning", [b"x" * 50_000, b"x" * 400_000, BODY[:-1] + b"x"])
def test_a_wrong_beginning_is_thrown_away(tmp_path: Path, beginning: bytes) -> None:
    """What lay there may be left of another file, or longer than this one."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{SHA256}.part").write_bytes(beginning)
    with serving(WeightsServer(BODY)) as server:
        path = downloader(tmp_path, server.url).fetch(WANTED)

    assert path.read_bytes() == BODY


def test_a_server_that_continues_elsewhere_is_asked_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{SHA256}.part").write_bytes(BODY[:1000])
    wrong = WeightsServer(BODY, content_range=f"bytes 0-{len(BODY) - 1}/{len(BODY)}")
    with serving(wrong) as server:
        path = downloader(tmp_path, server.url).fetch(WANTED)

    assert path.read_bytes() == BODY
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        (WeightsServer(BODY[:-1] + b"x"), Fault.WRONG_SHA256),
        (WeightsServer(BODY + b"x"), Fault.WRONG_SIZE),
        (WeightsServer(BODY[:-1]), Fault.WRONG_SIZE),
        (WeightsServer(BODY, endless=True), Fault.WRONG_SIZE),
        (WeightsServer(BODY, announces=10**12), Fault.WRONG_SIZE),
        (WeightsServer(BODY, breaks_after=0), Fault.UNREACHABLE),
        (WeightsServer(BODY, status=404), Fault.NOT_FOUND),
        (WeightsServer(BODY, status=403), Fault.UNREACHABLE),
        (WeightsServer(BODY, status=503), Fault.UNREACHABLE),
        (WeightsServer(BODY, encoding="gzip"), Fault.UNREACHABLE),
        (WeightsServer(BODY, redirect="/again"), Fault.UNREACHABLE),
    ],
    ids=[
        "another-file", "longer", "shorter", "endless", "announces-a-terabyte", "always-breaks",
        "absent", "forbidden", "failing", "compressed", "redirects-without-end",
    ],
)  # fmt: skip
def test_a_bad_answer_is_given_up(tmp_path: Path, server: WeightsServer, fault: Fault) -> None:
    """No answer costs more than the bytes that are due, and nothing wrong is kept."""
    with serving(server):
        assert fault_of(downloader(tmp_path, server.url)) is fault

    kept = [file for file in (tmp_path / "downloads").iterdir() if file.stat().st_size]
    assert kept == []


def test_a_file_that_another_command_fetches_is_left_alone(tmp_path: Path) -> None:
    """Two writers would mix their bytes."""
    with serving(WeightsServer(BODY)) as server:
        inner: list[Fault] = []

        def meanwhile(done: int) -> None:
            if not inner:
                inner.append(fault_of(downloader(tmp_path, server.url)))

        downloader(tmp_path, server.url).fetch(WANTED, meanwhile)

    assert inner == [Fault.IN_PROGRESS]


def test_a_mirror_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / SHA256).write_bytes(BODY)

    by_path = downloader(tmp_path / "a", str(tmp_path / "mirror")).fetch(WANTED)
    by_url = downloader(tmp_path / "b", f"file://{tmp_path / 'mirror'}").fetch(WANTED)

    assert by_path.read_bytes() == by_url.read_bytes() == BODY


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        (None, Fault.NOT_FOUND),
        (BODY[:-1], Fault.WRONG_SHA256),
        (BODY + b"x", Fault.WRONG_SIZE),
        (BODY[:-1] + b"x", Fault.WRONG_SHA256),
    ],
)
def test_a_mirrors_file_is_not_believed(tmp_path: Path, held: bytes | None, fault: Fault) -> None:
    (tmp_path / "mirror").mkdir()
    if held is not None:
        (tmp_path / "mirror" / SHA256).write_bytes(held)

    assert fault_of(downloader(tmp_path, str(tmp_path / "mirror"))) is fault


def test_a_mirror_of_another_scheme_is_refused(tmp_path: Path) -> None:
    assert fault_of(downloader(tmp_path, "ftp://mirror.example")) is Fault.FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    "target",
    [
        "{canary}/x", "file:///etc/passwd", "ftp://weights.example/x", "http://weights.example/x",
        "//[", "https://a:b@weights.example/x",
    ],
)  # fmt: skip
def test_s67_a_redirect_into_this_network_is_not_followed(tmp_path: Path, target: str) -> None:
    """The mirror is the administrator's word; where it points to is not."""
    with serving(WeightsServer(BODY)) as canary, serving(WeightsServer(BODY)) as mirror:
        mirror.redirect = target.format(canary=canary.url)
        fault = fault_of(downloader(tmp_path, mirror.url))

    assert fault is Fault.FORBIDDEN_ADDRESS
    assert canary.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254",  # noqa: S104
        "10.0.0.1",
        "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]", "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]", "224.0.0.1",
    ],
)  # fmt: skip
def test_s67_a_private_address_is_not_asked(tmp_path: Path, host: str) -> None:
    wanted = Pinned(f"https://{host}/net.onnx", SHA256, len(BODY))

    assert fault_of(downloader(tmp_path), wanted) is Fault.FORBIDDEN_ADDRESS


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
def test_s67_a_private_address_in_disguise_is_not_asked(tmp_path: Path, host: str) -> None:
    """The resolver of the system knows these spellings; so it is its answer that is checked."""
    wanted = Pinned(f"https://{host}/net.onnx", SHA256, len(BODY))
    downloads = Downloader(tmp_path, pause_s=0, attempts=1, is_proxied=lambda address: False)

    assert fault_of(downloads, wanted) in (Fault.FORBIDDEN_ADDRESS, Fault.UNREACHABLE)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "localhost", "db.internal", "nas.local"])
def test_s67_a_proxy_is_not_asked_for_private_names(tmp_path: Path, host: str) -> None:
    """Behind a proxy names are resolved there, so only their form can be checked here."""
    wanted = Pinned(f"https://{host}/net.onnx", SHA256, len(BODY))
    downloads = Downloader(tmp_path, pause_s=0, is_proxied=lambda address: True)

    assert fault_of(downloads, wanted) is Fault.FORBIDDEN_ADDRESS


def test_s67_a_name_is_looked_up_once_and_that_address_is_used(tmp_path: Path) -> None:
    """A name that answers otherwise the second time leads nowhere."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    downloads = Downloader(
        tmp_path, resolve=lambda host, port: next(answers), is_proxied=lambda address: False
    )

    place = downloads.admit("https://weights.example/a/net.onnx")

    assert place.url == "https://93.184.216.34:443/a/net.onnx"
    assert place.headers == {"Host": "weights.example"}
    assert place.extensions == {"sni_hostname": "weights.example"}


def test_s67_one_private_address_among_others_is_enough(tmp_path: Path) -> None:
    downloads = Downloader(
        tmp_path,
        resolve=lambda host, port: ["93.184.216.34", "127.0.0.1"],
        is_proxied=lambda address: False,
    )

    with pytest.raises(DownloadRefused, match=r"127\.0\.0\.1"):
        downloads.admit("https://weights.example/net.onnx")


def test_a_slow_transfer_ends(tmp_path: Path) -> None:
    with serving(WeightsServer(BODY)) as server:
        downloads = Downloader(tmp_path, server.url, limit_s=-1.0, pause_s=0)

        assert fault_of(downloads) is Fault.TOO_SLOW
