"""A mine: auth, fleet and the gateway on real sockets over one real database."""

import asyncio
import base64
import contextlib
import itertools
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from gateway.app import create_app as create_gateway
from gateway.app import resources as gateway_resources
from gateway.drain import Drain, create_server
from gateway.settings import GatewaySettings
from services.auth import app as auth
from services.auth.settings import Settings as AuthSettings
from services.fleet import app as fleet
from services.fleet.settings import Settings as FleetSettings
from services.fleet.simulator.pictures import drawn
from shared.assertions import GATEWAY, HEADER, AssertionSigner, Caller
from shared.keys import ensure_keys, read_key
from tests.gateway.support import listen, served

ADMIN = "chief"
PASSWORD = "nine grey herons over the fen"
JPEG = next(drawn(0))


def old_time(at: datetime | None = None) -> str:
    """A time as original devices write it; now if unset."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M:%S")


@dataclass
class Truck:
    """A truck whose device registered over the old wire."""

    id: int
    account: int
    token: str
    mac: str
    password: str
    name: str


@dataclass
class Person:
    """Somebody with a token of the old wire, and one of the modern API."""

    id: str
    username: str
    token: str
    access: str

    @property
    def headers(self) -> dict[str, str]:
        """The modern credential."""
        return {"Authorization": f"Bearer {self.access}"}


@dataclass
class Mine:
    """A running platform, and who may enter."""

    url: str
    fleet_url: str
    database_url: str
    keys: Path
    http: httpx.AsyncClient
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def old(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request of the old wire."""
        return await self.http.request(method, f"/api/v1/{path}", **options)

    async def modern(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request of the modern API."""
        return await self.http.request(method, f"/api/v2/fleet/{path}", **options)

    async def truck(self, **more: Any) -> Truck:
        """A new truck."""
        number = next(self.numbers)
        mac = ":".join(f"{byte:02x}" for byte in secrets.token_bytes(6))
        wanted = {
            "mac": mac, "password": "pass-of-truck", "name": f"Truck {number}-{mac}", **more,
        }  # fmt: skip
        answer = await self.old("POST", "jetson/register/", json=wanted)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        return Truck(
            data["truck_id"], data["id"], data["token"], mac, wanted["password"], wanted["name"]
        )

    async def alert(self, truck: Truck, behavior: str = "Tamper", at: str | None = None) -> int:
        """An alert of a truck, by its number."""
        told = {
            "token": truck.token, "truck_id": truck.id, "alert_init": at or old_time(),
            "behavior": behavior,
        }  # fmt: skip
        answer = await self.old("POST", "alert/", json=told)
        assert answer.status_code == 200, answer.text
        number: int = answer.json()["data"]["alert_id"]
        return number

    async def frame(self, truck: Truck, alert: int, content: bytes = JPEG, **more: Any) -> int:
        """A frame of an alert, by its number."""
        told = {
            "token": truck.token, "alert_id": alert, "frame_timestamp": old_time(),
            "frame": base64.b64encode(content).decode(), **more,
        }  # fmt: skip
        answer = await self.old("POST", "log/", json=told)
        assert answer.status_code == 200, answer.text
        number: int = answer.json()["data"]["frame_id"]
        return number

    async def log_in(self, username: str = ADMIN, password: str = PASSWORD) -> Person:
        """Somebody who signs in on both wires."""
        old = await self.old("POST", "login/", json={"username": username, "password": password})
        assert old.status_code == 200, old.text
        form = {"grant_type": "password", "username": username, "password": password}
        modern = await self.http.post("/api/v2/auth/token", data=form)
        access = modern.json()["access_token"]
        me = await self.http.get(
            "/api/v2/auth/users/me", headers={"Authorization": f"Bearer {access}"}
        )
        return Person(me.json()["id"], username, old.json()["data"]["token"], access)

    async def person(self, admin: Person, role: str = "Limited", *trucks: Truck) -> Person:
        """A new person of the old wire, who was granted these trucks."""
        username = f"person-{next(self.numbers)}-{secrets.token_hex(3)}"
        told = {
            "token": admin.token,
            "new_user": {
                "username": username, "password": PASSWORD, "role": role,
                "email": f"{username}@mine.example",
            },
        }  # fmt: skip
        answer = await self.old("POST", "user/register/", json=told)
        assert answer.status_code == 200, answer.text
        person = await self.log_in(username)
        for truck in trucks:
            truck_id = await self.truck_uuid(admin, truck)
            granted = await self.modern(
                "PUT", f"members/{person.id}/trucks/{truck_id}", json={}, headers=admin.headers
            )
            assert granted.status_code == 204, granted.text
        return person

    async def truck_uuid(self, admin: Person, truck: Truck) -> str:
        """What the modern API calls a truck."""
        cursor: str | None = None
        while True:
            query = {"limit": "100", **({} if cursor is None else {"cursor": cursor})}
            page = (await self.modern("GET", "trucks", params=query, headers=admin.headers)).json()
            for item in page["items"]:
                if item["number"] == truck.id:
                    return str(item["id"])
            cursor = page["next_cursor"]
            assert cursor is not None

    async def enrolled(self, admin: Person) -> "Enrolled":
        """A device that enrolled into a new truck with a key."""
        name = f"Truck {next(self.numbers)}-{secrets.token_hex(3)}"
        made = await self.modern("POST", "trucks", json={"name": name}, headers=admin.headers)
        truck_id = made.json()["id"]
        code = await self.modern("POST", f"trucks/{truck_id}/enrolments", headers=admin.headers)
        key = Ed25519PrivateKey.generate()
        public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        told = {"code": code.json()["code"], "public_key": public}
        answer = await self.modern("POST", "devices/enrol", json=told)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return Enrolled(
            body["device_id"], truck_id, made.json()["number"], body["access_token"], key
        )

    def direct(self, who: Caller) -> dict[str, str]:
        """The header by which the gateway says who calls, for a request to fleet's own port."""
        signer = AssertionSigner(GATEWAY, read_key(self.keys, "assertion-fleet"))
        return {HEADER: signer.sign(who, "fleet")}


@dataclass
class Enrolled:
    """A device that has a key."""

    id: str
    truck_id: str
    truck_number: int
    access: str
    key: Ed25519PrivateKey

    @property
    def headers(self) -> dict[str, str]:
        """Its credential."""
        return {"Authorization": f"Bearer {self.access}"}

    def alert(self, **more: Any) -> dict[str, Any]:
        """What it says to open an alert."""
        return {"behavior": "Microsleep", "started_at": datetime.now(UTC).isoformat(), **more}


def _server(app: Any, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app, port=port, http="httptools", ws="websockets-sansio", loop="uvloop", lifespan="on",
        log_config=None, access_log=False, timeout_graceful_shutdown=1, timeout_keep_alive=75,
        proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)


@contextlib.contextmanager
def running_mine(database_url: str, home: Path, **settings: Any) -> Iterator[Mine]:
    """The three processes as threads; settings are those of fleet and of the gateway."""
    keys = home / "keys"
    ensure_keys(keys)
    sockets = [listen() for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    common = {
        "database_url": SecretStr(database_url),
        "home": home,
        "keys_dir": keys,
        "rate_limit_scale": 0,
        "stop_grace_s": 1,
        "database_pool_size": 4,
        "auth_url": f"http://127.0.0.1:{ports[0]}",
        "fleet_url": f"http://127.0.0.1:{ports[1]}",
        "chexray_url": f"http://127.0.0.1:{ports[1]}",
        "netra_url": f"http://127.0.0.1:{ports[1]}",
        "bqat_url": f"http://127.0.0.1:{ports[1]}",
        "scancer_url": f"http://127.0.0.1:{ports[1]}",
        **settings,
    }
    auth_settings = AuthSettings(
        **{**common, "admin_username": ADMIN, "admin_password": SecretStr(PASSWORD)}
    )
    fleet_settings = FleetSettings(**common)
    gateway_settings = GatewaySettings(**{**common, "port": ports[2], "gateway_drain_s": 0})
    drain = Drain()
    auth_app = auth.create_app(
        auth.resources(auth_settings), auth.assertion_verifier(auth_settings)
    )
    fleet_app = fleet.create_app(
        fleet.resources(fleet_settings), fleet.create_verifier(fleet_settings)
    )
    gateway = create_server(
        create_gateway(gateway_resources(gateway_settings, drain)), gateway_settings, drain
    )
    with (
        served(_server(auth_app, ports[0]), sockets[0]),
        served(_server(fleet_app, ports[1]), sockets[1]),
        served(gateway, sockets[2]),
    ):
        url = f"http://127.0.0.1:{ports[2]}"
        yield Mine(url, f"http://127.0.0.1:{ports[1]}", database_url, keys, _client(url))


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)


@contextlib.asynccontextmanager
async def mine_of(database_url: str, **settings: Any) -> AsyncIterator[Mine]:
    """A mine with a home of its own, once it can check tokens."""
    with (
        tempfile.TemporaryDirectory(prefix="vedette-mine-") as folder,
        running_mine(database_url, Path(folder), **settings) as mine,
    ):
        async with mine.http, asyncio.timeout(20):
            while (await mine.old("GET", "alert/?token=x")).status_code != 400:
                await asyncio.sleep(0.02)
        mine.http = _client(mine.url)
        async with mine.http:
            yield mine


def later(**duration: float) -> str:
    """A time from now, with its zone."""
    return (datetime.now(UTC) + timedelta(**duration)).isoformat()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Code and sentence of a refusal of the old wire, whose HTTP status says the same."""
    body: Mapping[str, Any] = answer.json()
    assert body["code"] == answer.status_code
    return body["code"], body.get("error", "")
