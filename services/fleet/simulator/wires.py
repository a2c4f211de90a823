"""How a simulated device speaks: as the original's devices do, or by the modern API."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.fleet.devices import SIGNED_PREFIX


class NotTaken(Exception):
    """The server did not take a message; sending it again may help."""


class Rejected(Exception):
    """The server refuses a message for good."""


class TokenOver(Exception):
    """The device needs a new token."""


@dataclass(slots=True)
class Message:
    """One thing that a device has to say, and what became of it."""

    kind: str
    """`open`, `frame`, `safe` or `end`."""
    at: datetime
    seq: int
    alert: "Message | None" = None
    """The opening of the alert that it belongs to."""
    behavior: str = ""
    picture: bytes = b""
    name: str = ""
    """What the server calls it, once it is acknowledged."""


class Wire(Protocol):
    """One device's way to the server."""

    async def sign_in(self) -> None:
        """Get a token."""
        ...

    async def send(self, message: Message) -> str:
        """Send a message; returns what the server calls it."""
        ...


def _check(answer: httpx.Response) -> dict[str, Any]:
    """The answer's body, if it is a good one."""
    if answer.status_code == 401 or "Wrong token" in answer.text[:200]:
        raise TokenOver
    if answer.status_code >= 500 or answer.status_code in (408, 429):
        raise NotTaken(f"status {answer.status_code}")
    if answer.status_code >= 400:
        raise Rejected(answer.text[:200])
    body: dict[str, Any] = answer.json()
    return body


@dataclass(slots=True)
class OldWire:
    """`/api/v1`: token in the body, base64 as Python prints it, times without a zone."""

    client: httpx.AsyncClient
    mac: str
    password: str
    name: str
    token: str = ""
    truck: int = 0

    async def sign_in(self) -> None:
        """Register, as original devices do at every start."""
        registration = {"mac": self.mac, "password": self.password, "name": self.name}
        body = _check(await self._call("POST", "/api/v1/jetson/register/", registration))
        self.token, self.truck = body["data"]["token"], body["data"]["truck_id"]

    async def send(self, message: Message) -> str:
        """See `Wire`."""
        at = message.at.strftime("%Y-%m-%d %H:%M:%S")
        told: dict[str, Any] = {"token": self.token}
        alert = int(message.alert.name) if message.alert is not None else 0
        match message.kind:
            case "open":
                told |= {"truck_id": self.truck, "alert_init": at, "behavior": message.behavior}
                body = _check(await self._call("POST", "/api/v1/alert/", told))
                return str(body["data"]["alert_id"])
            case "end":
                told |= {"alert_id": alert, "alert_end": at}
                body = _check(await self._call("PUT", "/api/v1/alert/", told))
                return str(body["data"]["id"])
        told |= {
            "frame_timestamp": at,
            "frame": str(base64.b64encode(message.picture)),
            "frame_index": message.seq % 2**31,
        }
        if message.kind == "frame":
            body = _check(await self._call("POST", "/api/v1/log/", {**told, "alert_id": alert}))
            return str(body["data"]["frame_id"])
        body = _check(await self._call("POST", "/api/v1/safe/", {**told, "truck_id": self.truck}))
        return str(body["data"]["safeframe_id"])

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            return await self.client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise NotTaken(type(error).__name__) from error


class ModernWire:
    """`/api/v2/fleet`: a key of its own, raw pictures, identifiers and numbers of its own."""

    def __init__(self, client: httpx.AsyncClient, code: str) -> None:
        self._client = client
        self._code = code
        self._key = Ed25519PrivateKey.generate()
        self._device_id = ""
        self._token = ""
        self._alerts: dict[int, str] = {}

    async def sign_in(self) -> None:
        """Enrol the first time, and sign a challenge afterwards."""
        if not self._device_id:
            public = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
            body = _check(
                await self._call(
                    "POST",
                    "/api/v2/fleet/devices/enrol",
                    json={"code": self._code, "public_key": public},
                )
            )
            self._device_id, self._token = body["device_id"], body["access_token"]
            return
        found = _check(await self._call("POST", "/api/v2/fleet/devices/challenge"))
        signature = self._key.sign(SIGNED_PREFIX + found["challenge"].encode())
        body = _check(
            await self._call(
                "POST",
                "/api/v2/fleet/devices/token",
                json={
                    "device_id": self._device_id,
                    "challenge": found["challenge"],
                    "signature": base64.b64encode(signature).decode(),
                },
            )
        )
        self._token = body["access_token"]

    async def send(self, message: Message) -> str:
        """See `Wire`."""
        headers = {"Authorization": f"Bearer {self._token}"}
        sent_at = datetime.now(UTC).isoformat()
        alert = self._alerts.get(message.alert.seq, "") if message.alert is not None else ""
        match message.kind:
            case "open":
                # Its own identifier, so that a lost answer is nothing to wait for.
                own = self._alerts.setdefault(message.seq, str(uuid4()))
                told = {
                    "behavior": message.behavior, "started_at": message.at.isoformat(), "id": own,
                    "seq": message.seq, "sent_at": sent_at,
                }  # fmt: skip
                path = "/api/v2/fleet/alerts"
                body = _check(await self._call("POST", path, json=told, headers=headers))
                return str(body["number"])
            case "end":
                ending = {"ended_at": message.at.isoformat(), "sent_at": sent_at}
                path = f"/api/v2/fleet/alerts/{alert}"
                body = _check(await self._call("PATCH", path, json=ending, headers=headers))
                return str(body["number"])
        path = f"/api/v2/fleet/alerts/{alert}/frames" if alert else "/api/v2/fleet/frames"
        query = {"taken_at": message.at.isoformat(), "sent_at": sent_at, "seq": str(message.seq)}
        body = _check(
            await self._call(
                "POST",
                path,
                params=query,
                content=message.picture,
                headers={**headers, "Content-Type": "image/jpeg"},
            )
        )
        return str(body["number"])

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise NotTaken(type(error).__name__) from error
