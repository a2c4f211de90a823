"""Real radiographs through the whole chain, over the old API and the modern one."""

import io
import os
from pathlib import Path
from threading import Event, Thread

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.database import ROOT
from tests.e2e.conftest import Platform, StartPlatform
from tests.holding import eventually

ASSETS = os.environ.get("VEDETTE_ASSETS")
DRAWN = ROOT / "services" / "chexray" / "models" / "chexray-mobilenet" / "vectors" / "0.png"
LABELS = ["atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion"]

# Real pictures lie beside a checkout and are never part of it; `.ci/run` says where they are.
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VEDETTE_ASSETS names no folder")


def real(name: str) -> Path:
    """A file of the public data."""
    return Path(ASSETS or "") / name


def token_of(client: httpx.Client, username: str) -> str:
    """The token of a new account on the old API."""
    answer = client.post(
        "/api/chexray/signup/",
        data={
            "username": username,
            "password": "a-long-passphrase",
            "password2": "a-long-passphrase",
        },
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def upload(client: httpx.Client, token: str, picture: Path) -> httpx.Response:
    """What the old front end does."""
    return client.post(
        "/api/chexray/upload/",
        headers={"Authorization": f"Token {token}"},
        data={"title": "Chest-X-Ray"},
        files={"image": (picture.name, picture.read_bytes())},
    )


@needs_assets
@pytest.mark.parametrize(
    "name",
    [
        "chest_xray/nih_full/00000075_000.png",
        "chest_xray/nih_full/00000100_000.png",
        "dicom/RG1_J2KI.dcm",
        "dicom/nih_dx_no_finding.dcm",
    ],
)
def test_a_radiograph_gets_five_probabilities_a_record_and_a_heatmap(
    platform: Platform, name: str
) -> None:
    """An original 1024 px PNG (one of them RGBA), a CR and a DX DICOM."""
    with platform.client() as client:
        token = token_of(client, f"reader-{Path(name).stem}")
        answer = upload(client, token, real(name))
        xray = answer.json()
        past = client.get("/api/chexray/user/", headers={"Authorization": f"Token {token}"})
        picture = client.get(xray["image"])
        heatmap = client.get(xray["heatmap_image"])

    assert answer.status_code == 201
    assert answer.headers["vedette-evidence"] == "demo"
    assert all(0 < xray[label] < 1 for label in LABELS)
    assert past.json()["pastxrays"] == [xray["id"]]
    assert Image.open(io.BytesIO(picture.content)).width > 256
    with Image.open(io.BytesIO(heatmap.content)) as drawn:
        assert np.ptp(np.asarray(drawn)) > 50


@needs_assets
def test_a_dicom_study_is_reported_in_dicom(platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {platform.token()}"}
    with platform.client(headers=headers) as client:
        picture = real("dicom/RG1_J2KI.dcm").read_bytes()
        study = client.post("/api/v2/chexray/studies", files={"image": ("cr.dcm", picture)}).json()
        maps = [
            client.get(study["heatmap_url"], params={"label": label}).content for label in LABELS
        ]
        report = client.get(f"/api/v2/chexray/studies/{study['id']}/report.dcm")

    assert [finding["label"] for finding in study["findings"]] == LABELS
    assert study["gate"]["accepted"] is True
    assert len(set(maps)) == len(LABELS)
    assert pydicom.dcmread(io.BytesIO(report.content)).Modality == "SR"


def test_no_acknowledged_study_is_lost_when_the_database_dies(own_platform: StartPlatform) -> None:
    """Uploads go on while PostgreSQL is killed; every 201 is found again afterwards."""
    platform = own_platform(VEDETTE_RATE_LIMIT_SCALE="0")
    headers = {"Authorization": f"Bearer {platform.token()}"}
    acknowledged: list[str] = []
    refused: list[int] = []
    done = Event()

    def upload_until_done() -> None:
        with platform.client(headers=headers) as client:
            while not done.is_set():
                files = {"image": ("drawn.png", DRAWN.read_bytes())}
                answer = client.post("/api/v2/chexray/studies", files=files)
                if answer.status_code == 201:
                    acknowledged.append(answer.json()["id"])
                else:
                    refused.append(answer.status_code)

    uploads = [Thread(target=upload_until_done) for _ in range(4)]
    for thread in uploads:
        thread.start()
    try:
        assert eventually(lambda: len(acknowledged) >= 5, within_s=30)
        postmaster = platform.running.home / "postgres" / "data" / "postmaster.pid"
        os.kill(int(postmaster.read_text().split()[0]), 9)
        assert eventually(lambda: len(refused) > 0, within_s=30)
        answered_before = len(acknowledged)
        assert eventually(lambda: len(acknowledged) >= answered_before + 5, within_s=30)
    finally:
        done.set()
        for thread in uploads:
            thread.join()

    assert set(refused) == {503}
    with platform.client(headers=headers) as client:
        found = [
            client.get(f"/api/v2/chexray/studies/{study}").status_code for study in acknowledged
        ]
    assert set(found) == {200}
