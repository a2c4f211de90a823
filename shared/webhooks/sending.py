"""One attempt to deliver: one request to one judged address, with limits on time and size."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import httpx

from shared.webhooks.addresses import AddressRefused, Guard
from shared.webhooks.signing import HEADER, signature

_TIMEOUT_S: Final = 10.0
_MOST_ANSWER_BYTES: Final = 64 * 1024
_LONGEST_RETRY_AFTER_S: Final = 3600.0
_AGENT: Final = "Vedette-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt went."""

    delivered: bool
    status: int | None = None
    error: str | None = None
    gone: bool = False
    """The receiver says that it will never want this again."""
    retry_after_s: float | None = None


class Sender:
    """Sends; nothing of what a receiver answers is kept but its status."""

    def __init__(self, guard: Guard, *, certificates: ssl.SSLContext | None = None) -> None:
        """Prepare.

        Args:
            guard: judges every address anew at every attempt.
            certificates: whom to trust; unset: what this machine trusts.
        """
        self._guard = guard
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            # A proxy from the environment would resolve the name a second time.
            trust_env=False,
            verify=certificates or ssl.create_default_context(),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def send(
        self, url: str, secret: str, body: bytes, *, delivery_id: UUID, event: str, attempt: int
    ) -> Answer:
        """Try once to deliver."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._send(url, secret, body, delivery_id, event, attempt)
        except TimeoutError:
            return Answer(False, error="no answer in time")
        except AddressRefused as error:
            return Answer(False, error=f"refused: {error}")
        except httpx.HTTPError as error:
            return Answer(False, error=type(error).__name__)

    async def _send(
        self, url: str, secret: str, body: bytes, delivery_id: UUID, event: str, attempt: int
    ) -> Answer:
        target = await self._guard.judge(url)
        headers = {
            "Host": target.host_header,
            "Content-Type": "application/json",
            "User-Agent": _AGENT,
            "Accept-Encoding": "identity",
            HEADER: signature(secret, body, int(time.time())),
            "Vedette-Delivery": str(delivery_id),
            "Vedette-Event": event,
            "Vedette-Attempt": str(attempt),
        }
        async with self._client.stream(
            "POST",
            target.pinned_url,
            content=body,
            headers=headers,
            extensions={"sni_hostname": target.host},
        ) as response:
            read = 0
            async for block in response.aiter_raw():
                read += len(block)
                if read > _MOST_ANSWER_BYTES:
                    break
            return _judge(response)


def _judge(response: httpx.Response) -> Answer:
    status = response.status_code
    if response.is_success:
        return Answer(True, status)
    error = "redirects are not followed" if response.is_redirect else f"status {status}"
    given = response.headers.get("Retry-After", "")
    wait_s = float(given) if given.isascii() and given.isdigit() and len(given) < 9 else None
    if wait_s is not None:
        wait_s = min(wait_s, _LONGEST_RETRY_AFTER_S)
    return Answer(False, status, error, gone=status == httpx.codes.GONE, retry_after_s=wait_s)
