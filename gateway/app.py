"""The gateway, put together: what it opens, in order, and how a request finds its way in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypedDict

import structlog
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.addresses import Addresses
from gateway.connection import UpstreamFailed
from gateway.counters import BREAKER_OPEN
from gateway.credentials import Doorman, Revoked
from gateway.drain import Drain
from gateway.edge import Edge
from gateway.forward import Forwarder
from gateway.hosts import HostPolicy
from gateway.introspection import Introspection
from gateway.matching import Policy
from gateway.openapi import OpenApi
from gateway.origins import OriginPolicy
from gateway.pages import create_pages
from gateway.policy import TABLE
from gateway.rates import RateLimits
from gateway.readiness import Readiness
from gateway.replicas import Replicas
from gateway.scrape import Metrics
from gateway.settings import GatewaySettings
from gateway.upstream import Upstream
from gateway.websocket import WebSocketForwarder
from shared.accesslog import AccessLog
from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.key_ring import KeyRing, KeysNotFetched
from shared.keys import read_key
from shared.revocations import Revocations
from shared.settings import ServiceName

log = structlog.get_logger(__name__)


class State(TypedDict):
    """What every request finds in its scope."""

    edge: Edge
    pages: ASGIApp


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[State]]


def create_app(lifespan: Lifespan) -> ASGIApp:
    """The gateway around whatever `lifespan` opens.

    Starlette only runs the lifespan: a request meets no framework on its way through.
    """
    lifespan_runner = Starlette(lifespan=lifespan)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan_runner(scope, receive, send)
            return
        state = scope["state"]
        edge: Edge = state["edge"]
        await edge(scope, receive, send, state["pages"])

    return gateway


def resources(settings: GatewaySettings, drain: Drain) -> Lifespan:
    """The gateway of an installation: its policy, its keys, its database's revocations."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with (
            Revocations.listen(settings.require_database_url()) as revocations,
            open_gateway(settings, drain, Policy(TABLE), revocations) as state,
        ):
            yield state

    return lifespan


@contextlib.asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, drain: Drain, policy: Policy, revocations: Revoked
) -> AsyncIterator[State]:
    """Open what the gateway needs, in the order in which it is needed."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.rate_limit_scale == 0:
            log.warning("rate_limits_are_off")
        services = _services(policy)
        signers = {
            str(name): AssertionSigner(GATEWAY, read_key(settings.keys_folder, f"assertion-{name}"))
            for name in services
        }
        polled = {route.service for route in policy.routes if route.websocket}
        replicas = {
            str(name): _open_replicas(settings, name, stack, is_polled=name in polled)
            for name in services
        }
        upstreams = [upstream for each in replicas.values() for upstream in each.all]
        auth = replicas["auth"].all[0]
        keys = await _open_keys(settings, auth, signers["auth"], stack)
        doorman = Doorman(
            keys,
            revocations,
            Introspection(auth, signers["auth"]),
            signers,
            introspection_ttl_s=settings.gateway_introspection_ttl_s,
        )
        websockets = WebSocketForwarder(
            doorman,
            connect_deadline_s=settings.gateway_connect_deadline_s,
            check_s=settings.gateway_websocket_check_s,
            max_message_bytes=settings.gateway_max_websocket_message_bytes,
        )
        revocations.on_revoked(lambda _: websockets.recheck_all())
        revocations.on_keys_changed(keys.refresh_soon)
        access_log = AccessLog(GATEWAY)
        stack.callback(access_log.flush)
        edge = Edge(
            policy=policy,
            hosts=HostPolicy((settings.host, *settings.allowed_hosts)),
            addresses=Addresses(settings.gateway_trusted_proxies),
            origins=OriginPolicy(settings.allowed_origins),
            doorman=doorman,
            limits=RateLimits(policy.rates, settings.rate_limit_scale),
            replicas=replicas,
            forwarder=Forwarder(settings),
            websockets=websockets,
            access_log=access_log,
        )
        readiness = Readiness(
            upstreams,
            keys,
            lambda: revocations.is_fresh,
            drain,
            max_key_age_s=settings.gateway_jwks_max_age_s,
        )
        pages = create_pages(
            readiness,
            Metrics(upstreams, signers),
            OpenApi(policy, [each.all for each in replicas.values()], signers),
        )
        yield State(edge=edge, pages=pages)


def _services(policy: Policy) -> tuple[ServiceName, ...]:
    """The services that the policy names, auth always among them."""
    named: set[ServiceName] = {"auth"}
    named |= {route.service for route in policy.routes if route.service != "gateway"}
    return tuple(sorted(named))


def _open_replicas(
    settings: GatewaySettings,
    name: ServiceName,
    stack: contextlib.AsyncExitStack,
    *,
    is_polled: bool,
) -> Replicas:
    """Every process of a service: the first has its name, the others their place behind it."""
    most = settings.gateway_max_polls if is_polled else settings.gateway_max_in_flight
    return Replicas(
        [
            _open_upstream(settings, name, f"{name}-{place}" if place else name, url, most, stack)
            for place, url in enumerate(settings.service_urls(name))
        ]
    )


def _open_upstream(
    settings: GatewaySettings,
    service: ServiceName,
    name: str,
    url: str,
    max_in_flight: int,
    stack: contextlib.AsyncExitStack,
) -> Upstream:
    upstream = Upstream(
        name,
        url,
        service=service,
        max_in_flight=max_in_flight,
        connect_deadline_s=settings.gateway_connect_deadline_s,
        answer_idle_s=settings.gateway_answer_idle_s,
        total_deadline_s=settings.gateway_total_deadline_s,
        hang_after_s=settings.gateway_hang_after_s,
        probe_deadline_s=settings.gateway_probe_deadline_s,
    )
    upstream.on_breaker = _tell_of_breaker
    BREAKER_OPEN.labels(name).set(0)
    upstream.start()
    stack.push_async_callback(upstream.close)
    return upstream


def _tell_of_breaker(upstream: Upstream, is_open: bool) -> None:
    BREAKER_OPEN.labels(upstream.name).set(int(is_open))
    log.warning("breaker_opened" if is_open else "breaker_closed", upstream=upstream.name)


async def _open_keys(
    settings: GatewaySettings,
    auth: Upstream,
    signer: AssertionSigner,
    stack: contextlib.AsyncExitStack,
) -> KeyRing:
    async def fetch() -> bytes:
        assertion = signer.sign(Caller(subject=GATEWAY, kind="service"), "auth")
        try:
            answer = await auth.fetch("GET", "/.well-known/jwks.json", [(HEADER, assertion)])
        except UpstreamFailed as error:
            raise KeysNotFetched from error
        if answer.status != 200:
            raise KeysNotFetched
        return answer.body

    keys = KeyRing(
        settings.issuer,
        fetch,
        auth.time,
        refresh_s=settings.gateway_jwks_refresh_s,
        max_age_s=settings.gateway_jwks_max_age_s,
    )
    refreshing = asyncio.create_task(keys.keep_fresh())

    async def stop() -> None:
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)

    stack.push_async_callback(stop)
    return keys
