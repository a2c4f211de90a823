"""Attacks 68 to 72: paths below the data folder, other people's scans, undeclared rights."""

import os
from collections.abc import Mapping
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.services.bqat.support import Bqat, as_caller, caller, face, stranger

Headers = Mapping[str, str]
OUTSIDE = [
    "data/../../etc/",
    "../",
    "/etc/",
    "data/./../..",
    "data//../../",
    "data\\..\\..",
    "data/\0",
    "file:///etc/",
    "data/link/",
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_s68_a_folder_outside_of_the_data_folder_is_not_there(
    bqat: Bqat, me: Headers, path: str
) -> None:
    """Whatever leads to it; a symbolic link is not followed."""
    link = bqat.data / "link"
    if not link.is_symlink():
        link.symlink_to("/etc", target_is_directory=True)
    for body in ({"input": path}, {"input": [f"{path}passwd.jpg"]}):
        answer = await bqat.client.post(
            "/scan/local", params={"modality": "face"}, json=body, headers=me
        )
        assert answer.status_code == 422
    listing = await bqat.client.get(f"/warehouse/data/{quote(path, safe='')}", headers=me)
    assert listing.status_code in (404, 422)
    assert "root:" not in listing.text


async def test_s68_links_and_devices_within_a_folder_are_not_scanned(
    bqat: Bqat, me: Headers
) -> None:
    """Only plain files are."""
    folder = bqat.data / f"set-{uuid4().hex}"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(face(60))
    (folder / "link.jpg").symlink_to("/etc/passwd")
    (folder / "inner").symlink_to("/etc", target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    answer = await bqat.client.post(
        "/scan/local", params={"modality": "face"}, json={"input": folder.name}, headers=me
    )
    task = await bqat.finish(me, answer.json()["tid"])
    profiles = await bqat.client.get(f"/scan/{task['collection']}/profiles", headers=me)

    assert task["status"] == 2
    found = {profile["file"]: profile for profile in profiles.json()}
    assert found[f"data/{folder.name}/good.jpg"]["ipd"] == 60
    # A pipe has a name that fits, and cannot be read as a file.
    assert set(found) <= {f"data/{folder.name}/{name}" for name in ("good.jpg", "pipe.jpg")}
    assert all("link" not in name for name in found)


async def test_s68_pictures_are_not_written_outside(bqat: Bqat, me: Headers) -> None:
    """Neither by a name that climbs nor by a link."""
    for target in ("../evil", "/tmp/evil", "data/../../evil"):  # noqa: S108 (never written)
        answer = await bqat.client.post(
            "/scan/preprocessing", json={"source": "data/", "target": target}, headers=me
        )
        assert answer.status_code == 422


@pytest.mark.parametrize("generation", ["old", "modern"])
async def test_s69_nobody_reaches_the_scan_of_somebody_else(
    bqat: Bqat, me: Headers, generation: str
) -> None:
    """On any path, by any method; the owner still can."""
    collection = await bqat.scanned(me, {f"{n}.jpg": face(60 + n) for n in range(12)})
    other = as_caller(caller())
    modern = f"/api/v2/bqat/scans/{collection}"
    paths = {
        "old": [
            ("GET", f"/task/{collection}/"),
            ("GET", f"/task/{collection}/status"),
            ("DELETE", f"/task/{collection}"),
            ("POST", f"/task/{collection}/top"),
            ("POST", f"/task/{collection}/stop"),
            ("POST", f"/task/cancel/{collection}"),
            ("POST", f"/scan/pause/{collection}"),
            ("POST", f"/scan/resume/{collection}"),
            ("GET", f"/scan/logs/{collection}"),
            ("DELETE", f"/scan/logs/{collection}"),
            ("GET", f"/scan/{collection}/report"),
            ("DELETE", f"/scan/{collection}/report"),
            ("DELETE", f"/scan/{collection}/outliers"),
        ],
        "modern": [
            ("GET", modern),
            ("DELETE", modern),
            ("POST", f"{modern}/pause"),
            ("POST", f"{modern}/cancel"),
            ("GET", f"{modern}/profiles"),
            ("GET", f"{modern}/profiles.csv"),
            ("GET", f"{modern}/profiles.parquet"),
            ("GET", f"{modern}/outliers"),
            ("GET", f"{modern}/report"),
        ],
    }[generation]
    for method, path in paths:
        answer = await bqat.client.request(method, path, headers=other)
        assert answer.status_code == 404, (method, path, answer.text)
    count = f"/scan/{collection}/profiles/count"
    assert (await bqat.client.get(count, headers=other)).json() == 0
    assert (await bqat.client.get(f"/scan/{collection}/profiles", headers=other)).json() == []
    assert (await bqat.client.get(count, headers=me)).json() == 12


async def test_s70_lists_hold_nothing_of_somebody_else(bqat: Bqat, me: Headers) -> None:
    """Tasks, logs, datasets, queues."""
    await bqat.scanned(me, {"a.jpg": face(60)})
    other = as_caller(caller())
    for path in ("/task/", "/task/logs/scan", "/task/queue", "/scan/logs"):
        assert (await bqat.client.get(path, headers=other)).json() == []
    assert (await bqat.client.get("/api/v2/bqat/scans", headers=other)).json()["items"] == []


async def test_s71_without_a_credential_bqat_is_open_on_loopback_alone(bqat: Bqat) -> None:
    """And there only to the anonymous tenant's own scans."""
    here = await bqat.client.get("/task/", headers=stranger())
    for address in ("192.0.2.7", "10.0.0.1", "::ffff:192.0.2.7", "unknown"):
        away = await bqat.client.get("/task/", headers=stranger(address=address))
        assert away.status_code == 401
        assert "Bearer" in away.headers["www-authenticate"]
    assert here.status_code == 200
    assert (await bqat.client.get("/task/")).status_code == 401


async def test_s72_a_caller_without_the_scope_reads_or_writes_nothing(bqat: Bqat) -> None:
    """Reading is not writing."""
    reader = as_caller(caller(scopes=frozenset({"bqat:read"})))
    nobody = as_caller(caller(scopes=frozenset({"chexray:read"})))
    files = {"files": ("a.jpg", face(60))}
    assert (await bqat.client.get("/task/", headers=reader)).status_code == 200
    assert (await bqat.client.get("/task/", headers=nobody)).status_code == 403
    for who in (reader, nobody):
        answer = await bqat.client.post("/scan/uploaded?modality=face", files=files, headers=who)
        assert answer.status_code == 403
