"""Assembles chexray: all wiring, in the order in which it opens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import cv2
import httpx
import numpy as np
import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.types import Lifespan

from services.chexray import routes
from services.chexray.compat import routes as compat_routes
from services.chexray.compat.state import CompatState
from services.chexray.dependencies import State
from services.chexray.explaining import Explainer
from services.chexray.inference import NetworkClassifier
from services.chexray.repository import Quota, StudyRepository
from services.chexray.service import Illustrator, StudyReader
from services.chexray.settings import Settings
from services.chexray.tables import KEYS
from shared.assertions import AssertionSigner, AssertionVerifier
from shared.auth_client import AuthClient
from shared.background import running
from shared.cores import divide_cores
from shared.db import create_engine, row_fetcher
from shared.health import Check
from shared.imaging import DecodePool, Limits
from shared.inference import Engine, Network, load_package, resolve_package
from shared.keys import read_key
from shared.migrations import is_current, migrate_apart
from shared.objects import is_writable, open_objects
from shared.service_app import believe_gateway, create_service_app
from shared.sweeping import sweep_for_ever

log = structlog.get_logger(__name__)

SERVICE: Final = "chexray"
_DESCRIPTION = (
    "Chest radiographs: five findings, a heatmap for each, and reasons when a picture is not one."
)
SHIPPED_PACKAGE = Path(__file__).parent / "models" / "chexray-mobilenet"


class AppState(State, CompatState):
    """What the lifespan opens."""


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens.

    The lifespan may add to `app.state.checks` what `/readyz` looks at.
    """
    app = create_service_app(SERVICE, _DESCRIPTION, lifespan, verifier, direct=routes.DIRECT)
    app.include_router(routes.router)
    app.include_router(compat_routes.router)
    app.router.routes.extend(compat_routes.other_methods())
    return app


def create_verifier(settings: Settings) -> AssertionVerifier:
    """Who may call: the gateway."""
    return believe_gateway(SERVICE, settings)


def resources(settings: Settings) -> Lifespan[FastAPI]:
    """Everything that chexray opens, from what it was told."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
        async with AsyncExitStack() as opened:
            database_url = settings.require_database_url()
            await migrate_apart(database_url, SERVICE)
            database = create_engine(database_url, pool_size=settings.database_pool_size)
            opened.push_async_callback(database.dispose)
            sessions = async_sessionmaker(database, expire_on_commit=False)
            fetch_row = opened.enter_context(row_fetcher(database))

            objects = open_objects(f"{settings.object_store_url}/{SERVICE}")

            engine = opened.enter_context(Engine(settings.device, settings.threads))
            folder = resolve_package(settings.home, SHIPPED_PACKAGE, settings.chexray_model)
            network = engine.load(await asyncio.to_thread(load_package, folder))

            # As many pictures at once as cores; OpenCV's own threads would only fight for them.
            cv2.setNumThreads(1)
            limits = Limits(max_bytes=settings.chexray_max_upload_bytes)
            decoder = await opened.enter_async_context(
                DecodePool(divide_cores(settings.threads).decoding, limits)
            )
            classifier = NetworkClassifier(network, decoder)

            quota = Quota(settings.chexray_quota_studies, settings.chexray_quota_bytes)
            auth = AuthClient(
                SERVICE,
                await opened.enter_async_context(
                    httpx.AsyncClient(base_url=settings.service_url("auth"), timeout=10)
                ),
                AssertionSigner(SERVICE, read_key(settings.keys_folder, f"service-{SERVICE}")),
            )

            await opened.enter_async_context(
                running(
                    sweep_for_ever(
                        objects,
                        sessions,
                        lambda session, names: StudyRepository(session, quota).referenced_images(
                            names
                        ),
                        every_s=settings.chexray_sweep_interval_s,
                        age_s=settings.chexray_sweep_age_s,
                        keys=KEYS,
                    )
                )
            )
            app.state.checks.update(
                database=is_current(database, SERVICE),
                objects=is_writable(objects),
                network=_network_check(network),
            )
            log.info("service_ready", model=network.package.name)
            yield AppState(
                sessions=sessions,
                fetch_row=fetch_row,
                reader=StudyReader(classifier, objects, settings.evidence),
                illustrator=Illustrator(objects, decoder, Explainer(classifier)),
                quota=quota,
                max_upload_bytes=settings.chexray_max_upload_bytes + 64 * 1024,
                auth=auth,
                allowed_origins=frozenset(settings.allowed_origins),
            )

    return lifespan


def _network_check(network: Network) -> Check:
    async def check() -> str:
        blank = np.zeros((1, *network.package.preprocess.shape), np.float32)
        await asyncio.to_thread(network.run_now, blank)
        return network.package.name

    return check
