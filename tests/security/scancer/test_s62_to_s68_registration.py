"""What registering a model must refuse, with a clear word and without leaving anything behind.

Archives, pickles and graphs go through the whole service here, in the process of their own that
production uses; what the unpacking and the reading themselves refuse is in the numbered files
beside this folder.
"""

import hashlib
import os
import pickle
import shutil
import stat
import zipfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.scancer.errors import AddressRefused
from services.scancer.intake import AllowedAddresses
from shared.inference.download import Downloader, DownloadRefused, Fault
from shared.inference.download_address import fetch_address
from tests.database import new_database
from tests.security.test_062_archives import HOSTILE as HOSTILE_ARCHIVES
from tests.security.test_063_pickles import Bomb
from tests.security.test_064_onnx_files import LOCATIONS, external
from tests.services.scancer.support import Installation, put_in_store
from tests.shared.inference.packages import PackageBuilder, mean_network
from tests.shared.inference.weights_server import WeightsServer, serving

Make = Callable[[Path, Path], None]
"""Writes a hostile archive; the second path must never exist."""


def zipped(folder: Path, archive: Path) -> None:
    """Zip a folder as it is, unlike `pack`, which checks."""
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder).as_posix())


def a_pickle_as_network(archive: Path, canary: Path) -> None:
    """The manifest is right in all parts; the network is a program."""
    folder = archive.parent / "pickled"
    builder = PackageBuilder(folder)
    builder.write()
    contents = pickle.dumps(Bomb(canary))
    (folder / "model.pkl").write_bytes(contents)
    builder.changes = {"file": "model.pkl", "sha256": hashlib.sha256(contents).hexdigest()}
    builder.write()
    zipped(folder, archive)


def a_torchserve_archive(archive: Path, canary: Path) -> None:
    """With a handler that would leave a trace."""
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("MAR-INF/MANIFEST.json", '{"model": {"handler": "handler.py"}}')
        packed.writestr("handler.py", f"import os; os.mkdir({str(canary)!r})")


def objects_in_yaml(archive: Path, canary: Path) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("model.yaml", f"id: !!python/object/apply:os.mkdir ['{canary}']")


def external_data(location: str) -> Make:
    def make(archive: Path, canary: Path) -> None:
        folder = archive.parent / "external"
        network = mean_network()
        network.graph.initializer[0].CopyFrom(external(location))
        PackageBuilder(folder, network).write()
        zipped(folder, archive)

    return make


def without_vectors(archive: Path, canary: Path) -> None:
    folder = archive.parent / "unproven"
    PackageBuilder(folder, changes={"test_vectors": []}).write()
    zipped(folder, archive)


def a_lying_vector(archive: Path, canary: Path) -> None:
    """The network does something else than the package says."""
    vectors = [{"input": "vectors/0.png", "output": [0.9, 0.9], "tolerance": 1e-4}]
    folder = archive.parent / "lying"
    PackageBuilder(folder, changes={"test_vectors": vectors}).write()
    zipped(folder, archive)


def from_bytes(content: Callable[[], bytes]) -> Make:
    def make(archive: Path, canary: Path) -> None:
        archive.write_bytes(content())

    return make


#: Reasons as `docs/models.md` tells them.
HOSTILE: dict[str, tuple[Make, str]] = {
    **{
        f"s62 {name}": (from_bytes(content), "")
        for name, content in HOSTILE_ARCHIVES.items()
        if name in ("climbs", "absolute", "link", "twice", "encrypted", "lying", "cut")
    },
    "s63 pickle": (a_pickle_as_network, "bad-graph"),
    "s63 handler": (a_torchserve_archive, "missing-manifest"),
    "s63 yaml": (objects_in_yaml, "bad-manifest"),
    **{f"s64 {location}": (external_data(location), "external-data") for location in LOCATIONS[:3]},
    "no vectors": (without_vectors, "no-test-vectors"),
    "a lying vector": (a_lying_vector, "test-vector-failed"),
}


@pytest.fixture(scope="module")
async def careful(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, template_database: str
) -> AsyncGenerator[tuple[Installation, httpx.AsyncClient]]:
    """A service that verifies as production does, shared because nothing stays of an attack."""
    async with new_database(postgres_url, template=template_database) as url:
        home = tmp_path_factory.mktemp("careful")
        installation = Installation(home, url, verifies_apart=True)
        installation.store.mkdir()
        async with installation.serve() as client:
            yield installation, client


def traces(installation: Installation) -> set[str]:
    """Every file of the installation but those of its database and the model store."""
    return {
        path.relative_to(installation.home).as_posix()
        for path in installation.home.rglob("*")
        if path.is_file() and installation.store not in path.parents
    }


async def refused(client: httpx.AsyncClient, url: str, **query: Any) -> tuple[int, str, str]:
    """How a registration is refused."""
    answer = await client.post(
        "/models",
        params={"url": url, "initial_workers": 1, "synchronous": "true", **query},
    )
    said = answer.json()
    return answer.status_code, said["type"], said["message"]


@pytest.mark.parametrize("name", HOSTILE)
async def test_s62_s63_s64_a_hostile_package_is_refused_and_leaves_nothing(
    careful: tuple[Installation, httpx.AsyncClient], tmp_path: Path, name: str
) -> None:
    installation, client = careful
    make, reason = HOSTILE[name]
    canary = tmp_path / "canary"
    make(tmp_path / "hostile.zip", canary)
    shutil.copyfile(tmp_path / "hostile.zip", installation.store / "hostile.zip")
    before = traces(installation)
    status, kind, message = await refused(client, "hostile.zip")

    assert (status, kind) == (400, "InvalidModelException")
    assert message.startswith(reason)
    assert not canary.exists()
    assert traces(installation) == before
    assert (await client.get("/models")).json() == {"models": []}


async def test_s63_a_torchserve_archive_is_told_the_way_out(
    careful: tuple[Installation, httpx.AsyncClient],
) -> None:
    installation, client = careful
    a_torchserve_archive(installation.store / "squeezenet1_1.mar", installation.home / "canary")
    _, _, message = await refused(client, "squeezenet1_1.mar")

    assert "vedette models new" in message
    assert not (installation.home / "canary").exists()


@pytest.mark.parametrize(
    "name",
    ["../secret.zip", "/etc/passwd", "a/b.zip", "..", ".", "..\\x.zip", "%2e%2e%2fx", "x\0y", "",
     ".hidden.zip", "x" * 300],
)  # fmt: skip
async def test_s67_s68_a_name_reaches_nothing_outside_the_store(
    careful: tuple[Installation, httpx.AsyncClient], name: str
) -> None:
    installation, client = careful
    put_in_store(installation.home / "elsewhere")
    shutil.copyfile(
        installation.home / "elsewhere" / "brightness-1.0.zip", installation.home / "secret.zip"
    )
    status, kind, _ = await refused(client, name)

    assert (status, kind) in (
        (404, "ModelNotFoundException"),
        (400, "BadRequestException"),
    )


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
async def test_s68_what_lies_in_the_store_and_is_no_file_is_not_read(
    careful: tuple[Installation, httpx.AsyncClient], kind: str
) -> None:
    installation, client = careful
    place = installation.store / f"{kind}.zip"
    if kind == "link":
        put_in_store(installation.home / "behind")
        place.symlink_to(installation.home / "behind" / "brightness-1.0.zip")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert not stat.S_ISREG(place.lstat().st_mode)

    assert (await refused(client, place.name))[:2] == (404, "ModelNotFoundException")


ADDRESSES = [
    "file:///etc/passwd",
    "gopher://127.0.0.1/x",
    "http://{canary}/x.zip",
    "http://localhost:{port}/x.zip",
    "http://127.1:{port}/x.zip",
    "http://2130706433:{port}/x.zip",
    "http://0x7f.1:{port}/x.zip",
    "http://[::1]:{port}/x.zip",
    "http://[::ffff:127.0.0.1]:{port}/x.zip",
    "http://169.254.169.254/latest/meta-data/",
    "https://user:password@{canary}/x.zip",
    "https://torchserve.pytorch.org/mar_files/squeezenet1_1.mar",
    "HTTP://{canary}/x.zip",
    "ftp://{canary}/x.zip",
    "data:application/zip;base64,UEsFBg==",
]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_s67_no_address_is_asked_unless_it_is_allowed(
    careful: tuple[Installation, httpx.AsyncClient], address: str
) -> None:
    """CVE-2023-43654: TorchServe fetched whatever it was told to."""
    _, client = careful
    with serving(WeightsServer(b"")) as server:
        port = server.url.rpartition(":")[2]
        url = address.format(canary=f"127.0.0.1:{port}", port=port)
        status, kind, message = await refused(client, url, sha256="a" * 64)

    assert (status, kind) == (400, "InvalidArchiveURLException")
    assert message.endswith("does not match any allowed URL(s)")
    assert server.asked == []


ALLOWED = AllowedAddresses.from_settings(
    ("https://models.example.org/nets/*", f"https://store.example.org/a.zip={'b' * 64}")
)


@pytest.mark.parametrize(
    "address",
    [
        "https://models.example.org/x.zip",
        "https://models.example.org/netsx/x.zip",
        "https://models.example.org/nets/../x.zip",
        "https://models.example.org/nets/%2e%2e/x.zip",
        "https://models.example.org.evil.example/nets/x.zip",
        "https://models.example.org@evil.example/nets/x.zip",
        "http://models.example.org/nets/x.zip",
        "https://store.example.org/b.zip",
        "https://store.example.org/a.zip?x=1",
        "https://models.example.org/nets/x.zip#y",
    ],
)
def test_s67_an_address_beside_the_allowed_ones_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        ALLOWED.sha256_of(address, "a" * 64)


def test_s67_an_allowed_address_needs_a_sha256_and_a_pin_is_the_last_word() -> None:
    folder, pinned = "https://models.example.org/nets/x.zip", "https://store.example.org/a.zip"

    assert ALLOWED.sha256_of(folder, "a" * 64) == "a" * 64
    assert ALLOWED.sha256_of(pinned, None) == "b" * 64
    with pytest.raises(AddressRefused, match="needs the parameter sha256"):
        ALLOWED.sha256_of(folder, None)
    with pytest.raises(AddressRefused, match="pinned"):
        ALLOWED.sha256_of(pinned, "a" * 64)


@pytest.mark.parametrize("entry", ["http://x/*", "https:///*", "*", "https://x/a.zip", "x=1"])
def test_s67_a_misspelt_allowance_stops_the_service(entry: str) -> None:
    with pytest.raises(ValueError, match="https"):
        AllowedAddresses.from_settings((entry,))


def downloader(folder: Path, address: str = "127.0.0.1") -> Downloader:
    """One that finds a name at `address`."""
    return Downloader(folder, resolve=lambda *_: [address], is_proxied=lambda _: False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "192.168.0.1"]
)
def test_s67_an_allowed_name_that_leads_inside_is_not_followed(
    tmp_path: Path, address: str
) -> None:
    """DNS rebinding: the name is looked up once, and that address is checked."""
    with pytest.raises(DownloadRefused) as found:
        fetch_address(
            downloader(tmp_path, address), "https://models.example.org/x", "a" * 64,
            tmp_path / "x", 1000,
        )  # fmt: skip
    assert found.value.fault is Fault.FORBIDDEN_ADDRESS
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        (WeightsServer(b"x" * 2000), Fault.WRONG_SIZE),
        (WeightsServer(b"", endless=True), Fault.WRONG_SIZE),
        (WeightsServer(b"other"), Fault.WRONG_SHA256),
        (WeightsServer(b"other", status=404), Fault.NOT_FOUND),
        (WeightsServer(b"other", status=500), Fault.UNREACHABLE),
        (WeightsServer(b"other", encoding="gzip"), Fault.UNREACHABLE),
        (WeightsServer(b"x", redirect="http://169.254.169.254/"), Fault.FORBIDDEN_ADDRESS),
        (WeightsServer(b"x", redirect="file:///etc/passwd"), Fault.FORBIDDEN_ADDRESS),
    ],
)
def test_s67_a_far_side_that_lies_is_given_up(
    tmp_path: Path, server: WeightsServer, fault: Fault
) -> None:
    """Too much, without end, another file, or a redirect inside; the mirror stands for it here."""
    with serving(server) as running, pytest.raises(DownloadRefused) as found:
        fetch_address(
            Downloader(tmp_path / "d", running.url), "https://models.example.org/x", "a" * 64,
            tmp_path / "x", 1000,
        )  # fmt: skip
    assert found.value.fault is fault


async def test_s67_an_allowed_archive_is_fetched_checked_and_served(
    installation: Installation, tmp_path: Path
) -> None:
    """By an address with a pin as the old command has it, and by a folder and a sha256."""
    file = put_in_store(tmp_path / "far", "squeezenet1_1")
    content = (tmp_path / "far" / file).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / sha256).write_bytes(content)
    address = "https://torchserve.pytorch.org/mar_files/squeezenet1_1.mar"
    installation.settings = {
        "model_mirror": str(mirror),
        "scancer_allowed_urls": (f"{address}={sha256}", "https://models.example.org/nets/*"),
    }
    async with installation.serve() as client:
        pinned = await client.post(f"/models?url={address}")
        listed = (await client.get("/models")).json()
        await client.delete("/models/squeezenet1_1")
        far = "https://models.example.org/nets/x.zip"
        stated = await client.post("/models", params={"url": far, "sha256": sha256})
        unknown = await refused(client, far, sha256="c" * 64)
        unstated = await refused(client, far)

    assert pinned.status_code == 200
    assert listed["models"] == [{"modelName": "squeezenet1_1", "modelUrl": address}]
    assert stated.status_code == 200
    assert unknown[:2] == (400, "DownloadArchiveException")
    assert unstated[:2] == (400, "InvalidArchiveURLException")


async def test_s64_a_package_larger_than_allowed_is_not_even_copied(
    installation: Installation,
) -> None:
    put_in_store(installation.store)
    installation.settings = {"scancer_max_package_bytes": 1024}
    (installation.store / "large.zip").write_bytes(b"\0" * 2048)
    async with installation.serve() as client:
        found = await refused(client, "large.zip")

    assert found[0] == 400
    assert "2048 bytes" in found[2]
