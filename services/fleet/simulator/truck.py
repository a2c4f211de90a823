"""One simulated truck: what it sees is queued, and the queue is sent in its order."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.fleet.simulator.wires import Message, NotTaken, Rejected, TokenOver, Wire

_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
#: A device with a full store lets the oldest safe frames go first.
_MAX_STORED: Final = 20_000


@dataclass(slots=True)
class Ledger:
    """What a simulation did."""

    acknowledged: list[Message] = field(default_factory=list)
    repeated: int = 0
    """Times that a message was sent again because no answer came."""
    dropped: int = 0
    rejected: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    """From sending to the acknowledgement."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a truck behaves."""

    frames_per_s: float
    alerts_per_min: float
    alert_s: float = 3.0
    behaviors: tuple[str, ...] = ("Unsafe", "Eating/Drinking", "Single Hand", "Tamper")


class SimulatedTruck:
    """Sees things for a while, and sends until the last of them is acknowledged."""

    def __init__(
        self, wire: Wire, plan: Plan, pictures: Iterator[bytes], ledger: Ledger, seed: int
    ) -> None:
        self._wire = wire
        self._plan = plan
        self._pictures = pictures
        self._ledger = ledger
        self._dice = random.Random(seed)  # noqa: S311  # what happens in a cab is no secret
        self._stored: deque[Message] = deque()
        self._news = asyncio.Event()
        self._seq = 0
        self._is_over = False
        self.is_offline = False
        """Set while the truck has no network."""

    async def drive(self, seconds: float) -> None:
        """See things for `seconds`, then send what is left."""
        sending = asyncio.create_task(self._send_all())
        try:
            await self._see(seconds)
            self._is_over = True
            self._news.set()
            await sending
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    async def _see(self, seconds: float) -> None:
        pause_s = 1 / self._plan.frames_per_s
        chance = self._plan.alerts_per_min / 60 * pause_s
        until = time.monotonic() + seconds
        alert: Message | None = None
        ends_at = 0.0
        await asyncio.sleep(self._dice.random() * pause_s)
        while (now := time.monotonic()) < until:
            if alert is None and self._dice.random() < chance:
                alert = self._say("open", behavior=self._dice.choice(self._plan.behaviors))
                ends_at = now + self._plan.alert_s
            self._say("safe" if alert is None else "frame", alert, picture=next(self._pictures))
            if alert is not None and now >= ends_at:
                self._say("end", alert)
                alert = None
            await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - now)))
        if alert is not None:
            self._say("end", alert)

    def _say(
        self, kind: str, alert: Message | None = None, *, behavior: str = "", picture: bytes = b""
    ) -> Message:
        self._seq += 1
        message = Message(kind, datetime.now(UTC), self._seq, alert, behavior, picture)
        if len(self._stored) >= _MAX_STORED:
            self._let_go()
        self._stored.append(message)
        self._news.set()
        return message

    def _let_go(self) -> None:
        oldest = next((stored for stored in self._stored if stored.kind == "safe"), None)
        if oldest is not None:
            self._stored.remove(oldest)
            self._ledger.dropped += 1

    async def _send_all(self) -> None:
        failures = 0
        is_signed_in = False
        while self._stored or not self._is_over:
            if not self._stored or self.is_offline:
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._news.wait()
                continue
            try:
                if not is_signed_in:
                    await self._wire.sign_in()
                    is_signed_in = True
                await self._send(self._stored[0])
            except TokenOver:
                is_signed_in = False
                await asyncio.sleep(_PAUSES_S[min(failures, 4)])
                failures += 1
            except NotTaken:
                # It may have been stored all the same; the server knows it when it comes again.
                self._ledger.repeated += 1
                await asyncio.sleep(_PAUSES_S[min(failures, 4)] * (0.5 + self._dice.random()))
                failures += 1
            else:
                failures = 0

    async def _send(self, message: Message) -> None:
        begun = time.perf_counter()
        try:
            message.name = await self._wire.send(message)
        except Rejected as error:
            self._ledger.rejected.append(f"{message.kind}: {error}")
        else:
            self._ledger.acknowledged.append(message)
            self._ledger.waits_s.append(time.perf_counter() - begun)
        # A picture that is stored need not be kept here.
        message.picture = b""
        self._stored.popleft()
