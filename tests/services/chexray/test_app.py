"""The service as it is wired in production: real network, real database, real folder."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from pydantic import SecretStr

from bench.chexray.radiograph import draw_radiograph
from services.chexray.app import create_app, create_verifier, resources
from services.chexray.domain import Pathology
from services.chexray.settings import Settings
from shared.assertions import GATEWAY, HEADER, AssertionSigner
from shared.keys import ensure_keys, read_key
from tests.services.chexray.support import caller, picture
from tests.serving import running


@pytest.fixture
def settings(tmp_path: Path, scratch_database: str) -> Settings:
    """An installation of this test's own."""
    ensure_keys(tmp_path / "keys")
    return Settings(
        home=tmp_path, database_url=SecretStr(scratch_database), device="cpu", threads=1
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The running service, asked by the gateway in a clinician's name."""
    app = create_app(resources(settings), create_verifier(settings))
    signer = AssertionSigner(GATEWAY, read_key(settings.keys_folder, "assertion-chexray"))
    async with running(app) as client:
        client.headers[HEADER] = signer.sign(caller(), "chexray")
        yield client


async def test_it_is_ready_when_database_objects_and_network_are(
    client: httpx.AsyncClient,
) -> None:
    """Each has looked, and the network has run."""
    ready = await client.get("/readyz")

    assert ready.status_code == 200
    assert {name: found["ready"] for name, found in ready.json()["checks"].items()} == {
        "database": True,
        "objects": True,
        "network": True,
    }


async def test_a_radiograph_is_read_kept_explained_and_reported(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    """The whole way, with the network that is shipped."""
    file = io.BytesIO()
    Image.fromarray(draw_radiograph(700)).save(file, "PNG")
    files = {"image": ("a.png", file.getvalue())}
    study = (await client.post("/api/v2/chexray/studies", files=files)).json()
    heatmap = await client.get(study["heatmap_url"])
    report = await client.get(study["report_url"])
    image = await client.get(study["image_url"])
    old = await client.post("/api/chexray/upload/", files=files, data={"title": "t"})
    kept = [path for path in (settings.home / "objects").rglob("*") if path.is_file()]

    assert study["gate"]["accepted"]
    assert [finding["label"] for finding in study["findings"]] == list(Pathology)
    assert study["evidence"] == "demo"
    assert Image.open(io.BytesIO(heatmap.content)).size == (700, 700)
    assert report.content[128:132] == b"DICM"
    assert image.content == file.getvalue()
    assert [old.json()[label] for label in Pathology] == [
        finding["probability"] for finding in study["findings"]
    ]
    # The same picture twice is one object, beside the one that readiness writes.
    assert len({path.name for path in kept}) <= 2


async def test_its_metrics_name_routes_and_never_paths(client: httpx.AsyncClient) -> None:
    """For the gateway to gather."""
    await client.get("/api/v2/chexray/studies/01920000-0000-7000-8000-000000000001")
    metrics = await client.get("/metrics")

    assert 'route="/api/v2/chexray/studies/{study_id}"' in metrics.text
    assert "01920000" not in metrics.text


def decoding_children() -> list[psutil.Process]:
    """The processes of ours that decode what may crash a decoder."""
    return [
        child for child in psutil.Process().children() if "shared.imaging.child" in child.cmdline()
    ]


async def test_s57_risky_formats_are_decoded_in_a_process_that_ends_with_the_service(
    settings: Settings,
) -> None:
    app = create_app(resources(settings), create_verifier(settings))
    signer = AssertionSigner(GATEWAY, read_key(settings.keys_folder, "assertion-chexray"))
    headers = {HEADER: signer.sign(caller(), "chexray")}
    async with running(app) as client:
        for kind in ("PNG", "JPEG", "TIFF"):
            image = {"image": ("a", picture(kind, (80, 80)))}
            answer = await client.post("/api/v2/chexray/studies", files=image, headers=headers)
            assert answer.status_code == 201
            assert len(decoding_children()) == (kind == "TIFF")
        shown = await client.get(
            answer.json()["image_url"], headers={**headers, "Accept": "image/png"}
        )
        assert shown.content.startswith(b"\x89PNG")
        assert len(decoding_children()) == 1
    assert decoding_children() == []
