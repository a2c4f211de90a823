"""Slides through the whole service: sent, looked at by the worker, drawn, cancelled, deleted."""

import asyncio
import io
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from services.scancer.dependencies import PREDICT
from shared.assertions import Caller
from tests.database import new_database
from tests.services.scancer.slides.making import draw_slide, write_pyramid
from tests.services.scancer.support import (
    ADMIN_SCOPES,
    Installation,
    as_caller,
    put_in_store,
    register,
)

SLIDES = "/api/v2/scancer/slides"


class As(httpx.Auth):
    """Signs every request anew in somebody's name, because assertions live for a minute."""

    def __init__(self, name: str, scopes: frozenset[str] = frozenset({PREDICT})) -> None:
        self._caller = Caller(subject=name, kind="user", scopes=scopes, credential="bearer")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header by which the gateway says who calls."""
        request.headers.update(as_caller(self._caller))
        yield request


BOB = As("bob")


@pytest.fixture(scope="module")
async def service(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, template_database: str
) -> AsyncGenerator[httpx.AsyncClient]:
    """A service with a network that takes bright patches for tumour, at one micrometre."""
    async with new_database(postgres_url, template=template_database) as url:
        installation = Installation(tmp_path_factory.mktemp("slides"), url)
        put_in_store(
            installation.store,
            "dots",
            input={
                "name": "image",
                "colour": "GRAY",
                "size": [8, 8],
                "scale": 1 / 255,
                "mean": [0.5],
                "std": [1.0],
                "mpp_um": 11.64,
            },
        )
        put_in_store(installation.store, "plain")
        async with installation.serve() as client:
            client.auth = As("root", ADMIN_SCOPES)
            for name in ("dots-1.0.zip", "plain-1.0.zip"):
                assert (await register(client, name)).status_code == 200
            yield client


@pytest.fixture
def client(service: httpx.AsyncClient, request: pytest.FixtureRequest) -> httpx.AsyncClient:
    """The service, asked by somebody who has sent nothing yet."""
    service.auth = As(request.node.name)
    return service


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A pyramid of three levels."""
    return write_pyramid(tmp_path_factory.mktemp("slide") / "slide.tif", draw_slide()).read_bytes()


async def finished(client: httpx.AsyncClient, slide_id: str) -> dict[str, Any]:
    """The slide once its job is over; half a minute is far more than it needs."""
    async with asyncio.timeout(60):
        while True:
            answer = (await client.get(f"{SLIDES}/{slide_id}")).json()
            if answer["status"] not in ("queued", "running"):
                return dict(answer)
            await asyncio.sleep(0.05)


async def test_a_slide_is_queued_looked_at_and_drawn(
    client: httpx.AsyncClient, slide: bytes
) -> None:
    """From a raw body to findings and a heatmap in three styles."""
    sent = await client.post(SLIDES, params={"model": "dots", "stride": 8}, content=slide)
    assert sent.status_code == 202, sent.text
    queued = sent.json()
    assert sent.headers["location"] == f"{SLIDES}/{queued['id']}"
    assert queued["file"]["format"] == "generic-tiff"
    assert queued["file"]["mpp_source"] == "file"

    done = await finished(client, queued["id"])
    assert (done["status"], done["error"]) == ("completed", None)
    assert done["progress"] == 1.0
    grid, found = done["grid"], done["findings"]
    assert found["judged"] + found["glass"] + found["refused"] == grid["rows"] * grid["columns"]

    pictures = {}
    for style in ("overlay", "colours", "figures"):
        answer = await client.get(f"{done['heatmap_url']}?style={style}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["vedette-model"] == "dots@1.0"
        pictures[style] = Image.open(io.BytesIO(answer.content))
    assert pictures["overlay"].size == (1024, 683)
    assert pictures["colours"].size == (grid["columns"], grid["rows"])
    assert pictures["colours"].mode == "RGBA"
    assert pictures["figures"].mode == "L"
    assert int((np.asarray(pictures["figures"]) <= 250).sum()) == found["judged"]


async def test_a_form_brings_a_region_with_its_own_resolution(
    client: httpx.AsyncClient, slide: bytes
) -> None:
    """What the request states is kept apart from what the file says."""
    sent = await client.post(
        SLIDES,
        data={
            "model": "dots",
            "mpp": "0.5",
            "region": "384,256,512,256",
            "stride": "8",
            "title": "Left half",
        },
        files={"slide": ("any name.svs", slide)},
    )
    assert sent.status_code == 202, sent.text
    answer = sent.json()

    assert answer["title"] == "Left half"
    assert answer["file"]["mpp_source"] == "request"
    assert answer["region"] == {"x_px": 384, "y_px": 256, "width_px": 512, "height_px": 256}
    assert (await finished(client, answer["id"]))["status"] == "completed"


@pytest.mark.parametrize(
    ("stated", "status", "slug"),
    [
        ({"model": "nobody"}, 404, "model-not-found"),
        ({"model": "plain"}, 422, "not-for-slides"),
        ({"region": "0,0,99999,10"}, 422, "region-outside"),
        ({"region": "0,0,10"}, 422, "invalid-request"),
        ({"mpp": "nan"}, 422, "invalid-request"),
        ({"mpp": "19"}, 422, "resolution-unsuitable"),
        ({"stride": "0"}, 422, "invalid-request"),
        ({"colour": "blue"}, 422, "invalid-request"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_at_once(
    client: httpx.AsyncClient, slide: bytes, stated: dict[str, str], status: int, slug: str
) -> None:
    """Nothing is kept of it."""
    answer = await client.post(SLIDES, params={"model": "dots"} | stated, content=slide)

    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"/problems/{slug}"
    assert (await client.get(SLIDES)).json()["items"] == []


async def test_a_picture_without_resolution_needs_one(client: httpx.AsyncClient) -> None:
    """The network would see nuclei of any size."""
    file = io.BytesIO()
    Image.fromarray(draw_slide(800, 1200)).save(file, "PNG")
    bare = await client.post(SLIDES, params={"model": "dots"}, content=file.getvalue())
    stated = await client.post(
        SLIDES, params={"model": "dots", "mpp": "0.97"}, content=file.getvalue()
    )

    assert bare.json()["type"] == "/problems/resolution-unsuitable"
    assert stated.status_code == 202


async def test_slides_of_others_do_not_exist(client: httpx.AsyncClient, slide: bytes) -> None:
    """S69: 404 for reading, drawing, cancelling and deleting; an administrator sees all."""
    sent = await client.post(SLIDES, params={"model": "dots"}, content=slide)
    path = f"{SLIDES}/{sent.json()['id']}"
    for method, where in (
        ("GET", path),
        ("GET", f"{path}/heatmap"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
    ):
        foreign = await client.request(method, where, auth=BOB)
        assert foreign.status_code == 404
        assert foreign.json()["type"] == "/problems/slide-not-found"

    assert (await client.get(SLIDES, auth=BOB)).json()["items"] == []
    assert (await client.get(path, auth=As("root", ADMIN_SCOPES))).status_code == 200
    assert (await client.get(path, auth=As("nobody", frozenset()))).status_code == 403


async def test_lists_are_read_page_by_page(client: httpx.AsyncClient, slide: bytes) -> None:
    """Newest first, each once."""
    sent = []
    for number in range(3):
        answer = await client.post(
            SLIDES, params={"model": "dots", "title": str(number)}, content=slide
        )
        sent.append(answer.json()["id"])
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(SLIDES, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert seen == sent[::-1]
    assert cursor is None
    assert (await client.get(SLIDES, params={"cursor": "nonsense"})).status_code == 422


async def test_a_deleted_slide_is_gone_even_while_it_is_looked_at(
    client: httpx.AsyncClient, slide: bytes
) -> None:
    """Its worker finds that the job is nobody's any more, and the next job runs."""
    first = await client.post(SLIDES, params={"model": "dots", "stride": 8}, content=slide)
    gone = await client.delete(f"{SLIDES}/{first.json()['id']}")
    second = await client.post(SLIDES, params={"model": "dots"}, content=slide)

    assert gone.status_code == 204
    assert (await client.get(f"{SLIDES}/{first.json()['id']}")).status_code == 404
    assert (await finished(client, second.json()["id"]))["status"] == "completed"


async def test_a_repeated_request_sends_no_second_slide(
    client: httpx.AsyncClient, slide: bytes
) -> None:
    """Told by its key and its content; another request with the key is refused."""
    order = {"model": "dots", "stride": "8"}
    headers = {"Idempotency-Key": "k1"}
    first = await client.post(SLIDES, params=order, content=slide, headers=headers)
    again = await client.post(SLIDES, params=order, content=slide, headers=headers)
    other = await client.post(
        SLIDES, params=order | {"stride": "16"}, content=slide, headers=headers
    )
    bad = await client.post(SLIDES, params=order, content=slide, headers={"Idempotency-Key": ""})
    await client.delete(f"{SLIDES}/{first.json()['id']}")
    anew = await client.post(SLIDES, params=order, content=slide, headers=headers)

    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert bad.json()["type"] == "/problems/idempotency-key-invalid"
    assert anew.status_code == 202
    assert anew.json()["id"] != first.json()["id"]
