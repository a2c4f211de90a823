"""A study's picture in the form that the client can show."""

from collections.abc import Mapping

import httpx
import pytest

from tests.services.chexray.support import picture

STUDIES = "/api/v2/chexray/studies"
BROWSER = "image/png, image/jpeg, image/gif, image/webp, image/bmp"


async def image_of(
    client: httpx.AsyncClient, caller: Mapping[str, str], kind: str, accept: str
) -> httpx.Response:
    """Upload a picture of one kind and ask for it again."""
    files = {"image": ("chest", picture(kind))}
    study = (await client.post(STUDIES, headers=caller, files=files)).json()
    return await client.get(study["image_url"], headers={**caller, "Accept": accept})


@pytest.mark.parametrize(
    ("kind", "accept", "media_type"),
    [
        ("TIFF", BROWSER, "image/png"),
        ("TIFF", "*/*", "image/tiff"),
        ("TIFF", "image/png, image/*;q=0.5", "image/tiff"),
        ("TIFF", "image/png, image/tiff", "image/tiff"),
        ("TIFF", "image/webp", "image/tiff"),
        ("JPEG", BROWSER, "image/jpeg"),
        ("PNG", BROWSER, "image/png"),
    ],
)
async def test_a_picture_is_drawn_as_png_for_who_cannot_show_its_own_type(
    client: httpx.AsyncClient,
    as_bob: Mapping[str, str],
    kind: str,
    accept: str,
    media_type: str,
) -> None:
    """Browsers show no TIFF and no DICOM; everybody else gets the file as it was sent."""
    answer = await image_of(client, as_bob, kind, accept)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept"


async def test_the_file_itself_is_not_touched(
    client: httpx.AsyncClient, as_bob: Mapping[str, str]
) -> None:
    """Byte for byte what was uploaded."""
    answer = await image_of(client, as_bob, "TIFF", "*/*")

    assert answer.content == picture("TIFF")
