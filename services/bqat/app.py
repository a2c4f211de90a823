"""Assembles bqat: all wiring, in the order in which it opens."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.types import Lifespan

from services.bqat import routes
from services.bqat.compat import routers as compat_routers
from services.bqat.crew import Crew
from services.bqat.dependencies import State
from services.bqat.repository import TaskRepository
from services.bqat.service import Scans
from services.bqat.settings import Settings
from services.bqat.tables import KEYS, SCHEMA
from services.bqat.worker import WORKER_CONNECTIONS, open_bench
from shared.assertions import AssertionVerifier
from shared.background import running
from shared.db import create_engine
from shared.imaging import DecodePool, Limits
from shared.migrations import is_current, migrate_apart
from shared.objects import is_writable
from shared.service_app import believe_gateway, create_service_app
from shared.sweeping import sweep_for_ever

log = structlog.get_logger(__name__)

SERVICE: Final = "bqat"
_DESCRIPTION = (
    "Biometric samples: quality profiles of faces, fingerprints, irises and voices, for one file "
    "or a million, with outliers and a report."
)


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens."""
    app = create_service_app(
        SERVICE, _DESCRIPTION, lifespan, verifier, name_operation=_operation_id
    )
    app.include_router(routes.router)
    for router in compat_routers():
        app.include_router(router)
    return app


def _operation_id(route: APIRoute) -> str:
    """A name for an operation; the old API answers the same on several paths."""
    if not route.deprecated:
        return f"{SERVICE}_{route.name}"
    words = re.findall(r"[a-z0-9]+", route.path_format.replace("{", "by_").lower())
    slash = "_slash" if route.path_format.endswith("/") else ""
    return f"{SERVICE}_old_{min(route.methods or {'any'}).lower()}_{'_'.join(words)}{slash}"


def create_verifier(settings: Settings) -> AssertionVerifier:
    """Who may call: the gateway."""
    return believe_gateway(SERVICE, settings)


def resources(settings: Settings, *, crew: Crew | None = None) -> Lifespan[FastAPI]:
    """Everything that bqat opens, from what it was told; `crew` may be given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as opened:
            database_url = settings.require_database_url()
            await migrate_apart(database_url, SCHEMA)
            database = create_engine(database_url, pool_size=settings.database_pool_size)
            opened.push_async_callback(database.dispose)
            sessions = async_sessionmaker(database, expire_on_commit=False)
            # Tasks have connections of their own: requests must not wait for scans.
            for_tasks = create_engine(database_url, pool_size=WORKER_CONNECTIONS)
            opened.push_async_callback(for_tasks.dispose)

            bench = await opened.enter_async_context(
                open_bench(settings, for_tasks, concurrency=settings.bqat_workers, crew=crew)
            )
            decoder = await opened.enter_async_context(
                DecodePool(1, Limits(max_bytes=settings.bqat_max_file_bytes))
            )
            await opened.enter_async_context(bench.worker.running())
            await opened.enter_async_context(
                running(
                    sweep_for_ever(
                        bench.objects,
                        sessions,
                        lambda session, names: TaskRepository(session).referenced(names),
                        every_s=settings.bqat_sweep_interval_s,
                        age_s=settings.bqat_sweep_age_s,
                        keys=KEYS,
                    )
                )
            )
            app.state.checks.update(
                database=is_current(database, SERVICE),
                objects=is_writable(bench.objects),
                worker=bench.worker.check,
            )
            log.info("service_ready", processes=bench.crew.size, tasks=settings.bqat_workers)
            yield State(
                sessions=sessions,
                scans=Scans(
                    sessions, bench.objects, bench.data, bench.crew, bench.analyst, settings
                ),
                settings=settings,
                decoder=decoder,
            )

    return lifespan
