"""What bench/serving compares must compute the same thing, and refuse what others refuse."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from bench.serving.bare import BareNetwork, Setup
from bench.serving.gateway import ROW
from bench.serving.networks import TINY, Shape, draw_picture, draw_tensor, make_package
from bench.serving.service import (
    PATH,
    ROUTED_PATH,
    SERVICE,
    VERSION_PATH,
    Predictor,
    State,
    create_app,
)
from gateway.matching import Policy
from gateway.policy import TABLE
from shared.assertions import GATEWAY, HEADER, AssertionSigner, AssertionVerifier, Caller
from shared.imaging import ThreadDecoder, decode
from shared.inference import Engine, ModelPackage, load_package
from tests.serving import running

KEY = bytes(range(32))
SMALL = Shape("small", growth=4, layers=(1, 1), width=4, side_px=32, picture_px=80)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, ...]:
    """Two versions of a small network."""
    folder = tmp_path_factory.mktemp("packages")
    return tuple(
        load_package(make_package(folder / str(seed), SMALL, seed)) for seed in range(1, 3)
    )


@pytest.fixture
async def client(packages: tuple[ModelPackage, ...]) -> AsyncGenerator[httpx.AsyncClient]:
    """The service in this process, asked by the gateway."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        with Engine("cpu", threads=1) as engine:
            served = engine.serve("bench", packages[0])
            yield State(predictor=Predictor(engine, served, packages, ThreadDecoder(1), 30))

    app = create_app(lifespan, AssertionVerifier(SERVICE, {GATEWAY: KEY}))
    assertion = AssertionSigner(GATEWAY, KEY).sign(Caller(subject="bench", kind="user"), SERVICE)
    async with running(app) as found:
        found.headers[HEADER] = assertion
        yield found


@pytest.fixture(scope="module")
def bare(packages: tuple[ModelPackage, ...]) -> BareNetwork:
    """The first version without anything around it."""
    return BareNetwork(Setup(packages[0].folder / "model.onnx", SMALL.side_px, threads=1))


@pytest.mark.parametrize("path", [PATH, ROUTED_PATH])
@pytest.mark.parametrize("draw", [draw_picture, draw_tensor])
async def test_the_service_answers_as_the_bare_network_does(
    client: httpx.AsyncClient, bare: BareNetwork, path: str, draw: Callable[[Shape], bytes]
) -> None:
    """Otherwise the bench would compare two different things."""
    body = draw(SMALL)

    answer = await client.post(path, content=body)

    np.testing.assert_allclose(answer.json()["logits"], bare.answer(body), atol=1e-5)


def test_the_bare_loop_prepares_pictures_as_the_engine_does(
    packages: tuple[ModelPackage, ...], bare: BareNetwork
) -> None:
    picture = draw_picture(SMALL)
    preprocess = packages[0].preprocess

    prepared = preprocess(decode(picture, target_px=preprocess.target_px).pixels)

    np.testing.assert_allclose(bare.prepare(picture), prepared, atol=1e-6)


async def test_another_version_answers_after_the_change(
    client: httpx.AsyncClient, packages: tuple[ModelPackage, ...]
) -> None:
    changed = await client.put(f"{VERSION_PATH}/1")
    answer = await client.post(PATH, content=draw_picture(SMALL))

    assert changed.status_code == 204
    assert answer.json()["network"] == packages[1].manifest.sha256[:12]


async def test_a_version_that_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{VERSION_PATH}/2")).status_code == 404


async def test_a_body_that_is_neither_picture_nor_tensor_is_422(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, content=b"neither")).status_code == 422


async def test_the_service_refuses_who_does_not_come_through_the_gateway(
    client: httpx.AsyncClient,
) -> None:
    """A service without the platform's checks would be faster than those that are shipped."""
    del client.headers[HEADER]

    assert (await client.post(PATH, content=b"")).status_code == 401


def test_the_gateway_knows_the_service_by_one_more_row() -> None:
    """The whole policy stays in place, so that looking a row up costs what it costs."""
    assert Policy((*TABLE, ROW)).find(PATH) is ROW


def test_the_tiny_network_can_be_made_and_verified(tmp_path: Path) -> None:
    assert load_package(make_package(tmp_path / "tiny", TINY)).manifest.id == "tiny"
