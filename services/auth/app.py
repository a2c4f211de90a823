"""Auth, put together."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.types import Lifespan

from services.auth import (
    account_routes,
    admin_routes,
    credential_routes,
    device_routes,
    internal_routes,
    token_routes,
)
from services.auth.accounts import Accounts
from services.auth.api_keys import ApiKeys
from services.auth.attempts import LoginLimits
from services.auth.audit import AuditLog
from services.auth.dependencies import State
from services.auth.devices import Devices
from services.auth.domain import utc_now
from services.auth.key_ring import KeyRing, KeyWrapping
from services.auth.passwords import PasswordHasher
from services.auth.renewal import Renewal
from services.auth.settings import Settings
from services.auth.sign_in import SignIn
from services.auth.tokens import Tokens
from services.auth.upkeep import Upkeep
from shared.assertions import GATEWAY, AssertionVerifier
from shared.background import running
from shared.cores import usable_cores
from shared.db import create_engine
from shared.keys import KEY_ENCRYPTION, read_key
from shared.migrations import is_current, migrate_apart
from shared.service_app import create_service_app
from shared.settings import SERVICES

log = structlog.get_logger(__name__)

SERVICE: Final = "auth"
_DESCRIPTION = "Accounts, roles, sessions, API keys, devices, and the keys that sign every token."


def create_app(lifespan: Lifespan[FastAPI] | None, verifier: AssertionVerifier) -> FastAPI:
    """Assemble the service around whatever `lifespan` opens."""
    app = create_service_app(SERVICE, _DESCRIPTION, lifespan, verifier)
    for routes in (
        token_routes,
        account_routes,
        credential_routes,
        admin_routes,
        internal_routes,
        device_routes,
    ):
        app.include_router(routes.router)
    return app


def assertion_verifier(settings: Settings) -> AssertionVerifier:
    """Believes the gateway about clients, and every service about itself."""
    keys = {GATEWAY: read_key(settings.keys_folder, f"assertion-{SERVICE}")}
    for service in SERVICES:
        if service != SERVICE:
            keys[service] = read_key(settings.keys_folder, f"service-{service}")
    return AssertionVerifier(SERVICE, keys)


def resources(
    settings: Settings, clock: Callable[[], datetime] = utc_now
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[State]]:
    """What auth opens, in this order, and closes in reverse."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        database_url = settings.require_database_url()
        wrapping = KeyWrapping(read_key(settings.keys_folder, KEY_ENCRYPTION))
        await migrate_apart(database_url, SERVICE)
        engine = create_engine(database_url, pool_size=settings.database_pool_size)
        sessions = async_sessionmaker(engine, expire_on_commit=False)

        key_ring = KeyRing(
            sessions,
            wrapping,
            settings.issuer,
            clock,
            rotation=timedelta(days=settings.auth_key_rotation_days),
        )
        hasher = PasswordHasher(
            slots=settings.auth_hashing_slots or settings.threads or usable_cores()
        )
        limits = LoginLimits(
            sessions, clock, settings.auth_logins_per_minute, settings.rate_limit_scale
        )
        if settings.rate_limit_scale == 0:
            log.warning("login_limits_off")
        tokens = Tokens(settings.issuer, key_ring, clock)
        api_keys = ApiKeys(sessions, clock)
        accounts = Accounts(sessions, hasher, limits, clock)
        upkeep = Upkeep(sessions, key_ring, clock, timedelta(days=settings.auth_audit_days))

        async def keys_check() -> str:
            return f"{key_ring.active_id} signs, {len(key_ring.keys)} published"

        app.state.checks.update(database=is_current(engine, SERVICE), keys=keys_check)
        try:
            await upkeep.once()
            if settings.admin_password is not None:
                await accounts.create_first_administrator(
                    settings.admin_username, settings.admin_password.get_secret_value()
                )
            async with running(upkeep.run(settings.auth_upkeep_interval_s)):
                yield State(
                    sign_in=SignIn(sessions, hasher, limits, tokens, clock),
                    renewal=Renewal(sessions, tokens, api_keys, clock),
                    accounts=accounts,
                    api_keys=api_keys,
                    key_ring=key_ring,
                    audit_log=AuditLog(sessions),
                    devices=Devices(sessions, hasher, limits, tokens, clock),
                )
        finally:
            hasher.close()
            await engine.dispose()

    return lifespan
