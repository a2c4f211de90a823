"""Assembles scancer: all wiring, in the order in which it opens."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import cv2
import httpx
import structlog
from fastapi import FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import Response
from starlette.types import Lifespan

from services.scancer import routes
from services.scancer.catalogue import Catalogue, ReadRegistrations
from services.scancer.compat import health as compat_health
from services.scancer.compat import local
from services.scancer.compat import management as compat_management
from services.scancer.compat import predictions as compat_predictions
from services.scancer.compat.metrics import OldMetrics
from services.scancer.counting import Counting
from services.scancer.dependencies import State
from services.scancer.domain import Registration
from services.scancer.following import following
from services.scancer.gating import judge
from services.scancer.intake import AllowedAddresses, Intake
from services.scancer.management import Management
from services.scancer.prediction import Predictor
from services.scancer.protocol import routes as protocol_routes
from services.scancer.repository import Models
from services.scancer.settings import Settings
from services.scancer.shelf import Shelf
from services.scancer.slides import routes as slide_routes
from services.scancer.slides.desk import open_slides
from shared.assertions import AssertionSigner, AssertionVerifier
from shared.background import running
from shared.cores import divide_cores
from shared.db import create_engine
from shared.health import Check
from shared.imaging import DecodePool, Limits
from shared.inference import Engine
from shared.inference.apart import verify_apart
from shared.inference.download import Downloader
from shared.keys import read_key
from shared.migrations import is_current, migrate_apart
from shared.objects import open_objects
from shared.service_app import believe_gateway, create_service_app
from shared.sweeping import sweep_for_ever
from shared.telemetry import metrics_response

log = structlog.get_logger(__name__)

SERVICE: Final = "scancer"
_DESCRIPTION = (
    "Networks by name: predictions, model management and metrics as TorchServe's users know them, "
    "and the Open Inference Protocol."
)
#: Every folder in here is a package that a new installation serves.
SHIPPED_PACKAGES = Path(__file__).parent / "models"
_SWEEP_EVERY_S = 3600.0
_SWEEP_AGE_S = 86_400.0


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens.

    The lifespan may add to `app.state.checks` what `/readyz` looks at, and set `app.state.page`
    to what writes TorchServe's metrics.
    """
    app = create_service_app(
        SERVICE,
        _DESCRIPTION,
        lifespan,
        verifier,
        direct=(*compat_predictions.DIRECT, *protocol_routes.DIRECT),
        metrics=get_metrics,
    )
    app.state.page = _no_old_metrics
    # First, because routes are tried in their order, and nothing is asked as often.
    app.include_router(compat_predictions.router)
    app.include_router(routes.router)
    app.include_router(slide_routes.router)
    app.include_router(protocol_routes.router)
    app.include_router(compat_health.router)
    app.include_router(compat_management.router)
    return app


async def get_metrics(request: Request) -> Response:
    """This process's metrics, TorchServe's beside ours, for the gateway to gather."""
    response = metrics_response()
    response.body = bytes(response.body) + request.app.state.page([]).encode()
    response.headers["Content-Length"] = str(len(response.body))
    return response


def create_verifier(settings: Settings) -> AssertionVerifier:
    """Who may call: the gateway."""
    return believe_gateway(SERVICE, settings)


def resources(
    settings: Settings,
    shipped: Path = SHIPPED_PACKAGES,
    verify: Callable[[Path], float] | None = None,
) -> Lifespan[FastAPI]:
    """Everything that scancer opens, from what it was told.

    Args:
        settings: what it was told.
        shipped: where the packages lie that a new installation serves.
        verify: verifies a package that is registered; None for a process of its own each time.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as opened:
            database_url = settings.require_database_url()
            await migrate_apart(database_url, SERVICE)
            database = create_engine(database_url, pool_size=settings.database_pool_size)
            opened.push_async_callback(database.dispose)
            sessions = async_sessionmaker(database, expire_on_commit=False)

            objects = open_objects(f"{settings.object_store_url}/{SERVICE}/packages")
            shelf = Shelf(objects, settings.home)
            settings.model_store.mkdir(parents=True, exist_ok=True)

            engine = opened.enter_context(
                Engine(
                    settings.device,
                    settings.threads,
                    deadline_s=settings.scancer_deadline_s,
                    memory_limit_bytes=settings.scancer_networks_bytes,
                )
            )
            catalogue = Catalogue(engine, shelf, _reader(sessions, settings))
            management = Management(
                sessions,
                catalogue,
                _intake(settings, shelf, verify),
                shelf,
                settings.scancer_max_versions,
            )
            for folder in _packages_in(shipped):
                await management.register_shipped(folder)
            await catalogue.refresh()
            await opened.enter_async_context(following(database_url, catalogue.refresh))

            # As many pictures at once as cores; OpenCV's own threads would only fight for them.
            cv2.setNumThreads(1)
            cores = divide_cores(settings.threads, on_gpu=engine.device.kind != "cpu")
            decoder = await opened.enter_async_context(
                DecodePool(cores.decoding, Limits(max_bytes=settings.scancer_max_upload_bytes))
            )
            slides, worker = await opened.enter_async_context(
                open_slides(settings, database, catalogue)
            )
            await opened.enter_async_context(worker.running())
            counting = Counting()
            predictor = Predictor(
                catalogue,
                decoder,
                counting,
                judge,
                evidence=settings.evidence,
                gate_policy=settings.scancer_gate,
                deadline_s=settings.scancer_deadline_s,
            )

            await opened.enter_async_context(
                running(
                    sweep_for_ever(
                        objects,
                        sessions,
                        lambda session, names: Models(
                            session, settings.scancer_max_versions
                        ).referenced_archives(names),
                        every_s=_SWEEP_EVERY_S,
                        age_s=_SWEEP_AGE_S,
                    )
                )
            )
            app.state.checks.update(
                database=is_current(database, SERVICE),
                networks=_networks_check(catalogue),
                worker=worker.check,
            )
            app.state.page = OldMetrics(catalogue, counting, settings.home).page
            state = State(
                catalogue=catalogue,
                management=management,
                predictor=predictor,
                decoder=decoder,
                counting=counting,
                slides=slides,
                evidence=settings.evidence,
                deadline_s=settings.scancer_deadline_s,
                max_upload_bytes=settings.scancer_max_upload_bytes,
                max_images=settings.scancer_max_images,
                is_anonymous=settings.scancer_anonymous,
            )
            await _open_loopback_ports(opened, settings, state, app.state.page)
            log.info("service_ready", models=catalogue.names())
            yield state

    return lifespan


def _no_old_metrics(_: list[str]) -> str:
    return ""


def _packages_in(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("*") if (each / "model.yaml").is_file())


def _reader(sessions: async_sessionmaker[AsyncSession], settings: Settings) -> ReadRegistrations:
    async def read() -> list[Registration]:
        async with sessions.begin() as session:
            return await Models(session, settings.scancer_max_versions).all()

    return read


def _intake(settings: Settings, shelf: Shelf, verify: Callable[[Path], float] | None) -> Intake:
    def verify_in_a_process(folder: Path) -> float:
        return verify_apart(folder, timeout_s=settings.scancer_verify_timeout_s)

    return Intake(
        store=settings.model_store,
        shelf=shelf,
        allowed=AllowedAddresses.from_settings(settings.scancer_allowed_urls),
        downloader=Downloader(settings.home / "downloads", settings.model_mirror, limit_s=110),
        max_bytes=settings.scancer_max_package_bytes,
        verify=verify or verify_in_a_process,
    )


async def _open_loopback_ports(
    opened: AsyncExitStack, settings: Settings, state: State, page: Callable[[list[str]], str]
) -> None:
    """TorchServe's ports 8081 and 8082, where they are switched on: the first process has them."""
    if settings.listen_port is not None:
        return
    ports = {
        "management": settings.scancer_management_port,
        "metrics": settings.scancer_metrics_port,
    }
    if not any(ports.values()):
        return
    doorkeeper: local.Doorkeeper = local.OpenDoor()
    if settings.scancer_loopback_credentials:
        client = await opened.enter_async_context(
            httpx.AsyncClient(base_url=settings.service_url("auth"), timeout=10, trust_env=False)
        )
        key = read_key(settings.keys_folder, f"service-{SERVICE}")
        doorkeeper = local.PasswordDoor(client, AssertionSigner(SERVICE, key))

    def all_metrics(names: list[str]) -> str:
        ours = b"" if names else bytes(metrics_response().body)
        return ours.decode() + page(names)

    apps = {
        "management": local.create_management_app(),
        "metrics": local.create_metrics_app(all_metrics),
    }
    for name, port in ports.items():
        if port is not None:
            await opened.enter_async_context(local.listening(apps[name], port, state, doorkeeper))


def _networks_check(catalogue: Catalogue) -> Check:
    """Ready once every network that is shipped has the workers that it should have."""

    async def check() -> str:
        versions = catalogue.all_versions()
        absent = [
            each.registration.key
            for each in versions
            if each.registration.is_shipped and not each.is_as_registered
        ]
        if absent:
            raise RuntimeError(f"{', '.join(absent)} cannot be served")
        return f"{sum(each.served is not None for each in versions)} served"

    return check
