"""Assembles netra: all wiring, in the order in which it opens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.types import Lifespan

from services.netra import account_routes, media_routes, routes, webhook_routes
from services.netra.analysis.analyser import stated_evidence
from services.netra.announcing import WEBHOOKS, Endings
from services.netra.apart import AnalyserFailed, ApartAnalyser
from services.netra.compat import routes as compat_routes
from services.netra.compat.state import CompatState
from services.netra.dependencies import State
from services.netra.evidence import EvidenceGuard
from services.netra.illustrating import Illustrator
from services.netra.repositories.analyses import AnalysisRepository
from services.netra.service import Analyses
from services.netra.settings import Settings
from services.netra.tables import KEYS
from services.netra.worker import (
    SERVICE,
    at_once,
    limits_of,
    open_store,
    run_worker,
    start_analyser,
)
from shared.assertions import AssertionSigner, AssertionVerifier
from shared.auth_client import AuthClient
from shared.background import running
from shared.body_tokens import open_body_tokens
from shared.cores import divide_cores
from shared.db import create_engine, single_statements
from shared.imaging import DecodePool
from shared.jobs import Worker
from shared.keys import read_key
from shared.migrations import is_current, migrate_apart
from shared.objects import is_writable
from shared.server import give_up
from shared.service_app import believe_gateway, create_service_app
from shared.sweeping import sweep_for_ever
from shared.webhooks import Courier, Guard, Sender

log = structlog.get_logger(__name__)

_DESCRIPTION = (
    "Fundus photographs, as jobs: gradability with reasons, any and referable retinopathy, "
    "lesions with boxes and masks."
)


class AppState(State, CompatState):
    """What the lifespan opens."""


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens.

    The lifespan may add to `app.state.checks` what `/readyz` looks at.
    """
    app = create_service_app(SERVICE, _DESCRIPTION, lifespan, verifier)
    for module in (routes, media_routes, account_routes, webhook_routes, compat_routes):
        app.include_router(module.router)
    return app


def create_verifier(settings: Settings) -> AssertionVerifier:
    """Who may call: the gateway."""
    return believe_gateway(SERVICE, settings)


def resources(settings: Settings) -> Lifespan[FastAPI]:
    """Everything that netra opens, from what it was told."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
        async with AsyncExitStack() as opened:
            evidence = stated_evidence()
            # First, because it takes longest; requests are answered while networks are loaded.
            analyser = opened.enter_context(start_analyser(settings, at_once(settings)))
            database_url = settings.require_database_url()
            await migrate_apart(database_url, SERVICE)
            database = create_engine(database_url, pool_size=settings.database_pool_size)
            opened.push_async_callback(database.dispose)
            sessions = async_sessionmaker(database, expire_on_commit=False)
            objects = open_store(settings)

            # Apart from the worker's, so that a person who looks does not wait for a batch.
            decoder = await opened.enter_async_context(
                DecodePool(divide_cores(settings.threads).decoding, limits_of(settings))
            )
            worker = await opened.enter_async_context(
                run_worker(settings, database, analyser, objects, at_once(settings))
            )

            signer = AssertionSigner(SERVICE, read_key(settings.keys_folder, f"service-{SERVICE}"))
            auth = await opened.enter_async_context(
                httpx.AsyncClient(base_url=settings.service_url("auth"), timeout=10)
            )
            body_tokens = await opened.enter_async_context(
                open_body_tokens(SERVICE, settings.issuer, auth, signer, database_url)
            )
            endings = await opened.enter_async_context(Endings.listen(database_url))
            addresses = Guard(settings.webhook_allow)
            sender = await opened.enter_async_context(Sender(addresses))
            await opened.enter_async_context(
                Courier(WEBHOOKS, sender, database, database_url).running()
            )

            await opened.enter_async_context(
                running(
                    sweep_for_ever(
                        objects,
                        sessions,
                        lambda session, names: AnalysisRepository(session).referenced_images(names),
                        every_s=settings.netra_sweep_interval_s,
                        age_s=settings.netra_sweep_age_s,
                        keys=KEYS,
                    )
                )
            )
            await opened.enter_async_context(running(_work(analyser, worker)))
            app.state.checks.update(
                database=is_current(database, SERVICE),
                objects=is_writable(objects),
                networks=analyser.check,
                worker=worker.check,
            )
            log.info("service_ready", at_once=at_once(settings), evidence=evidence)
            yield AppState(
                sessions=sessions,
                analyses=Analyses(
                    sessions, single_statements(database), objects, settings.netra_credits
                ),
                illustrator=Illustrator(objects, decoder),
                endings=endings,
                webhook_addresses=addresses,
                guard=EvidenceGuard(settings.evidence, evidence),
                first_credits=settings.netra_credits,
                max_upload_bytes=settings.netra_max_upload_bytes + 64 * 1024,
                auth=AuthClient(SERVICE, auth, signer),
                body_tokens=body_tokens,
            )

    return lifespan


async def _work(analyser: ApartAnalyser, worker: Worker) -> None:
    """Do jobs from the moment the networks are loaded; end the service where they cannot be."""
    try:
        await analyser.load()
    except AnalyserFailed as error:
        log.critical("networks_not_loaded", error=str(error))
        give_up()
        return
    async with worker.running():
        await asyncio.Event().wait()
