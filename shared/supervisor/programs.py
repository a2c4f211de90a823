"""Which processes make the platform, and how they share the machine."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.cores import share_of_cores
from shared.settings import SERVICES, ServiceName
from shared.supervisor.probe import base_url
from shared.supervisor.settings import SupervisorSettings

#: The folder that holds `gateway/`, `services/` and `shared/`.
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the platform."""

    name: str
    command: tuple[str, ...]
    infers: bool = False
    """Whether it runs networks; those that do share the cores among them."""
    own: Mapping[str, str] = field(default_factory=dict)
    """What its environment says and no other's."""


def _module(name: str, module: str, *, infers: bool = False) -> Program:
    return Program(name, (sys.executable, "-m", module), infers=infers)


#: Every service that `vedette up` starts. A service joins the platform by a line here.
SERVICE_PROGRAMS: dict[ServiceName, Program] = {
    "auth": _module("auth", "services.auth"),
    "chexray": _module("chexray", "services.chexray", infers=True),
    "netra": _module("netra", "services.netra", infers=True),
    "scancer": _module("scancer", "services.scancer", infers=True),
    "fleet": _module("fleet", "services.fleet"),
    # Its scans may have every core: their processes give way to everything else.
    "bqat": _module("bqat", "services.bqat"),
}
GATEWAY = _module("gateway", "gateway")


def service_programs(settings: SupervisorSettings) -> list[Program]:
    """Every process of every service; the first of a service has its name and its port."""
    return [
        program if place == 0 else _replica(program, service, place, port)
        for service, program in SERVICE_PROGRAMS.items()
        for place, port in enumerate(_ports_of(settings, service))
    ]


def replica_urls(settings: SupervisorSettings) -> dict[str, str]:
    """What the environment of all says of the services that have several processes."""
    return {
        f"VEDETTE_{service.upper()}_URL": ",".join(
            base_url(settings.bind, port) for port in _ports_of(settings, service)
        )
        for service, count in settings.replicas.items()
        if count > 1 and getattr(settings, f"{service}_url") is None
    }


def ports(settings: SupervisorSettings) -> dict[str, tuple[str, int]]:
    """Where each program of the platform listens."""
    listening = {
        _name_of(service, place): (settings.bind, port)
        for service in SERVICE_PROGRAMS
        for place, port in enumerate(_ports_of(settings, service))
    }
    return {GATEWAY.name: (settings.host, settings.port)} | listening


def _ports_of(settings: SupervisorSettings, service: ServiceName) -> list[int]:
    """A service's ports: its own, and one behind all services for every further process."""
    first = settings.port + 1 + len(SERVICES)
    for other in SERVICES:
        further = settings.replicas.get(other, 1) - 1
        if other == service:
            return [settings.service_port(service), *range(first, first + further)]
        first += further
    raise ValueError(service)


def _replica(program: Program, service: ServiceName, place: int, port: int) -> Program:
    own = {"VEDETTE_LISTEN_PORT": str(port)}
    if service == "fleet":
        own["VEDETTE_FLEET_REPLICA"] = str(place)
    return replace(program, name=_name_of(service, place), own=own)


def _name_of(service: ServiceName, place: int) -> str:
    """As the gateway names the processes of a service."""
    return f"{service}-{place}" if place else str(service)


def threads_of(program: Program, programs: Iterable[Program], cores: int) -> int:
    """How many cores `program` may compute on: those that infer divide what there is."""
    inferring = sum(other.infers for other in programs)
    return share_of_cores(cores, inferring if program.infers else 1)
