"""Assembles fleet: all wiring, in the order in which it opens."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import cv2
import httpx
import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.middleware import Middleware
from starlette.types import Lifespan

from services.fleet import (
    alert_routes,
    enrolment_routes,
    frame_routes,
    people_routes,
    report_routes,
    truck_routes,
)
from services.fleet.alerting import Alerting
from services.fleet.auth_client import API, FleetAuth, RemoteAuth
from services.fleet.cameras import CameraWatch
from services.fleet.compat import routes as compat_routes
from services.fleet.compat.engine3 import Engine3
from services.fleet.compat.state import CompatState
from services.fleet.dependencies import State
from services.fleet.devices import DeviceRates, Devices
from services.fleet.ingest import FrameWriter
from services.fleet.live import LiveTiles
from services.fleet.realtime.admission import Admission
from services.fleet.realtime.engine4 import Engine4
from services.fleet.realtime.hub import Hub
from services.fleet.realtime.limits import Places
from services.fleet.realtime.listener import Listener
from services.fleet.realtime.sockets import SocketEngine, SocketMiddleware
from services.fleet.settings import Settings
from services.fleet.upkeep import Retention, Upkeep
from services.fleet.webhooks import WEBHOOKS
from shared.assertions import AssertionSigner, AssertionVerifier
from shared.body_tokens import open_body_tokens
from shared.cores import divide_cores
from shared.db import create_engine
from shared.health import Check
from shared.imaging import DecodePool, Limits
from shared.keys import read_key
from shared.migrations import is_current, migrate_apart
from shared.objects import is_writable, open_objects
from shared.service_app import believe_gateway, create_service_app
from shared.webhooks import Courier, Guard, Sender

log = structlog.get_logger(__name__)

SERVICE: Final = "fleet"
_DESCRIPTION = "Trucks and their devices: alerts, frames, and live notices over Socket.IO."


class AppState(State, CompatState):
    """What the lifespan opens."""

    engine3: SocketEngine
    engine4: SocketEngine
    first_user_open: bool
    zone: tzinfo
    """The zone that the times of the old wire are meant in."""


def create_app(lifespan: Lifespan[FastAPI], verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens.

    The lifespan may add to `app.state.checks` what `/readyz` looks at.
    """
    app = create_service_app(SERVICE, _DESCRIPTION, lifespan, verifier)
    app.router.routes.extend([*frame_routes.HOT_ROUTES, *compat_routes.HOT_ROUTES])
    for routes in (
        report_routes,
        alert_routes,
        frame_routes,
        truck_routes,
        enrolment_routes,
        people_routes,
    ):
        app.include_router(routes.router)
    app.include_router(compat_routes.router)
    app.router.routes.extend(compat_routes.other_methods())
    # Innermost: a socket needs the assertion as everything does.
    app.user_middleware.append(Middleware(SocketMiddleware))
    return app


def create_verifier(settings: Settings) -> AssertionVerifier:
    """Who may call: the gateway."""
    return believe_gateway(SERVICE, settings)


def resources(settings: Settings) -> Lifespan[FastAPI]:
    """Everything that fleet opens, from what it was told."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
        async with AsyncExitStack() as opened:
            database_url = settings.require_database_url()
            await migrate_apart(database_url, SERVICE)
            database = create_engine(database_url, pool_size=settings.database_pool_size)
            opened.push_async_callback(database.dispose)
            sessions = async_sessionmaker(database, expire_on_commit=False)
            objects = open_objects(f"{settings.object_store_url}/{SERVICE}")

            own_key = read_key(settings.keys_folder, f"service-{SERVICE}")
            signer = AssertionSigner(SERVICE, own_key)
            http = await opened.enter_async_context(
                httpx.AsyncClient(base_url=settings.service_url("auth"), timeout=10)
            )
            auth: FleetAuth = RemoteAuth(http, signer)
            body_tokens = await opened.enter_async_context(
                open_body_tokens(API, settings.issuer, http, signer, database_url)
            )

            writer = FrameWriter(sessions, objects)
            opened.push_async_callback(writer.close)
            alerting = Alerting(
                timedelta(seconds=settings.fleet_incident_gap_s), settings.fleet_escalate_after
            )
            # As many pictures at once as cores; OpenCV's own threads would only fight for them.
            cv2.setNumThreads(1)
            decoder = await opened.enter_async_context(
                DecodePool(
                    divide_cores(settings.threads).decoding,
                    Limits(max_bytes=settings.fleet_max_frame_bytes, max_pixels=25_000_000),
                )
            )
            watch = CameraWatch(sessions, decoder, settings.fleet_camera_check_interval_s)
            writer.observe(watch.offer)
            await opened.enter_async_context(watch.running())
            tiles = LiveTiles(sessions, objects)
            await opened.enter_async_context(
                Upkeep(
                    sessions,
                    objects,
                    alerting,
                    Retention(
                        timedelta(days=settings.fleet_keep_safe_frames_days),
                        timedelta(days=settings.fleet_keep_alert_frames_days),
                        timedelta(days=settings.fleet_keep_alerts_days),
                        timedelta(days=settings.fleet_keep_events_days),
                        settings.fleet_sweep_age_s,
                    ),
                    timedelta(seconds=settings.fleet_offline_after_s),
                    settings.fleet_upkeep_interval_s,
                ).running()
            )
            guard = Guard(settings.webhook_allow)
            sender = await opened.enter_async_context(Sender(guard))
            await opened.enter_async_context(
                Courier(WEBHOOKS, sender, database, database_url).running()
            )
            devices = Devices(
                sessions,
                auth,
                hashlib.sha256(b"vedette fleet challenges" + own_key).digest(),
                timedelta(minutes=settings.fleet_enrolment_minutes),
                settings.fleet_open_registration,
            )

            hub = Hub()
            admission = Admission(hub, body_tokens, sessions)
            await opened.enter_async_context(admission.watching())
            listener = Listener(
                database_url,
                hub,
                sessions,
                on_rights=admission.rights_changed,
                on_frames=tiles.frames_arrived,
            )
            await opened.enter_async_context(listener.running())
            places = Places(settings.fleet_max_sockets, settings.fleet_max_sockets_of_address)
            engine4 = await opened.enter_async_context(
                Engine4(
                    hub,
                    admission,
                    places,
                    replica=settings.fleet_replica,
                    ping_interval_s=settings.fleet_ping_interval_s,
                    ping_timeout_s=settings.fleet_ping_timeout_s,
                ).running()
            )
            engine3 = await opened.enter_async_context(
                Engine3(
                    hub,
                    admission,
                    places,
                    replica=settings.fleet_replica,
                    ping_interval_s=settings.fleet_ping_interval_s,
                    ping_timeout_s=settings.fleet_ping_timeout_s,
                ).running()
            )
            app.state.checks.update(
                database=is_current(database, SERVICE),
                objects=is_writable(objects),
                events=_events_check(listener),
            )
            log.info("service_ready")
            yield AppState(
                sessions=sessions,
                objects=objects,
                writer=writer,
                alerting=alerting,
                devices=devices,
                auth=auth,
                hub=hub,
                tiles=tiles,
                guard=guard,
                max_frame_bytes=settings.fleet_max_frame_bytes,
                body_tokens=body_tokens,
                device_rates=DeviceRates(
                    settings.fleet_device_requests_per_s, settings.rate_limit_scale
                ),
                allowed_origins=frozenset(settings.allowed_origins),
                engine3=engine3,
                engine4=engine4,
                first_user_open=settings.fleet_first_user_open,
                zone=ZoneInfo(settings.fleet_time_zone),
            )

    return lifespan


def _events_check(listener: Listener) -> Check:
    async def check() -> str:
        if not listener.is_listening:
            raise RuntimeError("no connection to hear of events")
        return "listening"

    return check
