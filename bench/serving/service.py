"""The smallest model service of the platform: a picture in, logits out, through the engine.

It has what every service has around its routes: health, telemetry, problems, the gateway's
assertion. `PATH` is answered before the framework looks for a route, as scancer answers
`/predictions`; `ROUTED_PATH` by the same code as a FastAPI route, which shows what that costs.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypedDict

import cv2
import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from numpy.typing import NDArray
from pydantic import Field
from starlette.types import Lifespan

from shared.assertions import AssertionVerifier
from shared.cores import divide_cores
from shared.direct import DirectRoute
from shared.imaging import DecodePool, Decoder
from shared.inference import Engine, ModelPackage, Network, Served, load_package, read_picture
from shared.multipart import read_whole
from shared.problems import NotFound, Problem
from shared.server import serve
from shared.service_app import believe_gateway, create_service_app
from shared.settings import Settings as PlatformSettings
from shared.telemetry import configure_logging

#: In whose name the gateway's row and the assertions go; nothing else of that service is here.
SERVICE: Final = "scancer"
PATH = "/bench/predictions"
ROUTED_PATH = "/bench/routed-predictions"
VERSION_PATH = "/bench/version"
_JPEG_BEGINS = b"\xff\xd8"
_MAX_BYTES = 1024 * 1024


class Settings(PlatformSettings):
    """What this service is told: `VEDETTE_BENCH_…`."""

    bench_port: int
    """Where it listens."""
    bench_packages: tuple[Path, ...] = Field(min_length=1)
    """The folders of the versions it can serve; the first is served first."""
    bench_deadline_s: float = Field(default=30, gt=0)
    """How long an answer may take; a request that cannot have one in this time is refused."""


class Unreadable(Problem):
    """The body is neither a picture nor the network's input."""

    status, slug, title = 422, "unreadable-body", "Unreadable body"


@dataclass(frozen=True, slots=True)
class Predictor:
    """Bodies to answers, with whatever version of the network serves at the moment."""

    engine: Engine
    served: Served
    packages: tuple[ModelPackage, ...]
    decoder: Decoder
    deadline_s: float

    async def predict(self, body: bytes) -> bytes:
        """The answer to one body, as JSON.

        Raises:
            Problem: the body is not readable, or the engine has no time for it.
        """
        with self.served.use() as network:
            if body.startswith(_JPEG_BEGINS):
                outputs = await read_picture(
                    network, body, self.decoder, deadline_s=self.deadline_s
                )
            else:
                tensor = _read(network, body)
                outputs = await network.run(tensor, deadline_s=self.deadline_s)
            return _to_json(network, outputs)

    async def change_version(self, number: int) -> None:
        """Let another version serve, without a request being lost.

        Raises:
            NotFound: there is no such version.
        """
        if not 0 <= number < len(self.packages):
            raise NotFound(f"There is no version {number}.")
        await self.engine.replace(self.served.name, self.packages[number])


def _read(network: Network, body: bytes) -> NDArray[np.float32]:
    try:
        return np.frombuffer(body, "<f4").reshape(1, *network.package.preprocess.shape)
    except ValueError as error:
        raise Unreadable("The body is neither a JPEG nor the network's input.") from error


def _to_json(network: Network, outputs: Mapping[str, NDArray[np.float32]]) -> bytes:
    logits: list[float] = outputs[network.manifest.output.name][0].tolist()
    return json.dumps({"logits": logits, "network": network.manifest.sha256[:12]}).encode()


class State(TypedDict):
    """What the lifespan opens."""

    predictor: Predictor


async def _predictor(request: Request) -> Predictor:
    # FastAPI calls a dependency that is not asynchronous in another thread.
    predictor: Predictor = request.state.predictor
    return predictor


PredictorDep = Annotated[Predictor, Depends(_predictor)]
router = APIRouter()


@router.post(ROUTED_PATH)
async def predict(request: Request) -> Response:
    """Answer one body."""
    body = await read_whole(request, _MAX_BYTES)
    answer = await request.state.predictor.predict(body)
    return Response(answer, media_type="application/json")


@router.get(VERSION_PATH)
async def read_version(predictor: PredictorDep) -> dict[str, str]:
    """What serves, and on what."""
    network = predictor.served.network
    return {"network": network.manifest.sha256[:12], "device": str(predictor.engine.device)}


@router.put(VERSION_PATH + "/{number}", status_code=204)
async def change_version(number: int, predictor: PredictorDep) -> None:
    """Let another version serve."""
    await predictor.change_version(number)


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens."""
    direct = (DirectRoute(PATH, ("POST",), predict),)
    app = create_service_app(SERVICE, "Pictures to logits.", lifespan, verifier, direct=direct)
    app.include_router(router)
    return app


def resources(settings: Settings) -> Lifespan[FastAPI]:
    """The engine, and every version that may serve."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        with Engine(settings.device, settings.threads) as engine:
            packages = tuple(
                [await asyncio.to_thread(load_package, path) for path in settings.bench_packages]
            )
            # As many pictures at once as cores; OpenCV's own threads would only fight for them.
            cv2.setNumThreads(1)
            cores = divide_cores(settings.threads, on_gpu=engine.device.kind != "cpu")
            async with DecodePool(cores.decoding) as decoder:
                yield State(
                    predictor=Predictor(
                        engine=engine,
                        served=engine.serve("bench", packages[0]),
                        packages=packages,
                        decoder=decoder,
                        deadline_s=settings.bench_deadline_s,
                    )
                )

    return lifespan


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings()
    configure_logging("bench", settings)
    app = create_app(resources(settings), believe_gateway(SERVICE, settings))
    serve(app, settings, port=settings.bench_port)


if __name__ == "__main__":
    main()
