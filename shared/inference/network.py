"""One loaded network: what services call."""

import asyncio
import math
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shared.inference.batching import Call, Lane, Outputs, Prepare, Priority
from shared.inference.callers import (
    SHARE_OF_TIME,
    Callers,
    LaneAsleep,
    QueueClosed,
    QueueFull,
)
from shared.inference.errors import EngineBusy, EngineStopped, InferenceDeadline
from shared.inference.metrics import tally_of
from shared.inference.package import ModelPackage
from shared.inference.runtime import NetworkFailed, Runnable
from shared.inference.warmup import BatchPlan
from shared.problems import Problem

Aside = Callable[[Prepare], Awaitable[NDArray[np.float32]]]
"""Prepares a picture away from the event loop, or in it where that takes no time."""
Noted = Callable[[Prepare], Prepare]

_MOST_WAITING_BYTES = 512 * 1024 * 1024
_FEWEST_WAITING = 8


class Network:
    """One version of one model.

    Its weights may leave memory while nobody needs them; the next request brings them back.
    """

    def __init__(
        self,
        package: ModelPackage,
        callers: Callers,
        *,
        deadline_s: float = 30.0,
        waiting_limit: int = 256,
        wake: "Callable[[Network], Future[None]] | None" = None,
    ) -> None:
        """Make a network that is not in memory yet; `open` brings it there.

        Args:
            package: what the network is.
            callers: who runs it.
            deadline_s: how long a request may take when it does not say.
            waiting_limit: how many pictures may wait; fewer where they are very large.
            wake: opens the network again, in another thread.
        """
        self.package = package
        self.manifest = package.manifest
        self.plan = BatchPlan()
        self.used_at = time.perf_counter()
        self.resident_bytes = 0
        self._callers = callers
        self._deadline_s = deadline_s
        self._wake = wake
        self._session: Runnable | None = None
        self._input = self.manifest.input.name
        self._shape = package.preprocess.shape
        self._tally = tally_of(self.manifest.id, self.manifest.version)
        picture_bytes = 4 * math.prod(self._shape)
        limit = min(waiting_limit, max(_FEWEST_WAITING, _MOST_WAITING_BYTES // picture_bytes))
        # The queue does not keep its network, so that one that is replaced leaves memory at once.
        self.lane = Lane(partial(_compute, weakref.ref(self)), self._tally, limit=limit)
        self.lane.is_open = False

    @property
    def name(self) -> str:
        """`id@version`."""
        return self.package.name

    @property
    def is_resident(self) -> bool:
        """Whether the network is in memory."""
        return self._session is not None

    async def run(
        self,
        tensor: NDArray[np.float32],
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """Run the network on pictures, in their turn and together with those of others.

        Cancelling the awaiting task takes the request out of the queue before it costs
        anything; a run that has begun ends, and its answer is dropped.

        Args:
            tensor: `(N, C, H, W)`, as `package.preprocess` makes each picture; it must not be
                changed before the answer is there.
            deadline_s: how long the answer may take; None for the engine's deadline.
            priority: whether somebody waits for the answer.

        Returns:
            The network's outputs by name, N rows each; read them, do not write into them.

        Raises:
            EngineBusy: too many requests wait, or so many that the deadline would pass.
            InferenceDeadline: no answer came in time.
            EngineStopped: the engine is closing.
            OutOfMemory: the network left memory, and those at work leave it no room to return.
            NetworkFailed: the run failed.
            ValueError: `tensor` is not what the network reads.
        """
        self._check(tensor)
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        return await self._answer_to(Call(tensor, limit_s, priority), limit_s, limit_s)

    async def prepare_and_run(
        self,
        prepare: Prepare,
        *,
        aside: Aside | None,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Outputs:
        """`run` on one picture that has still to be prepared: wherever that is cheapest.

        A request that has no time is refused before its picture is prepared. What cannot be
        prepared costs the network nothing.

        Args:
            prepare: makes the picture's `(1, C, H, W)`; called at most once, in any thread.
            aside: runs it where the threads of the engine should not; None where that would take
                longer than preparing the picture in the event loop.
            deadline_s: how long the answer may take, preparation included; None for the engine's
                deadline.
            priority: whether somebody waits for the answer.

        Returns:
            As `run`.

        Raises:
            What `run` and `prepare` raise.
        """
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        if self.plan.prepares:
            call = Call(partial(self._prepared, prepare), limit_s, priority)
            return await self._answer_to(call, limit_s, limit_s)
        until = time.perf_counter() + limit_s
        with self.preparing(deadline_s=limit_s, priority=priority) as noted:
            make = partial(self._prepared, noted(prepare))
            tensor = make() if aside is None else await aside(make)
        left_s = max(0.0, until - time.perf_counter())
        return await self._answer_to(Call(tensor, left_s, priority), left_s, limit_s)

    async def _answer_to(self, call: Call, left_s: float, limit_s: float) -> Outputs:
        """Queue a request that has `left_s` of its `limit_s`, and wait for its answer."""
        self.used_at = call.entered_at
        alarm = call.loop.call_later(left_s, self._expire, call, limit_s)
        try:
            try:
                self._callers.enter(self.lane, call)
            except LaneAsleep:
                await self._enter_awake(call)
            return await call.answer
        except asyncio.CancelledError:
            self._callers.leave(call)
            self._tally.add_reject("cancelled")
            raise
        except QueueFull:
            self._tally.add_reject("busy")
            raise self._busy() from None
        except QueueClosed:
            self._tally.add_reject("stopped")
            raise EngineStopped("The service is stopping.") from None
        except InferenceDeadline:
            self._tally.add_reject("deadline")
            raise
        except Problem as problem:
            # What cannot be prepared is refused by whoever prepares it, not by the network.
            if not call.is_unprepared:
                self._tally.add_reject(problem.slug.removeprefix("engine-"))
            raise
        except Exception:
            # What else waits of this request would be computed for nobody.
            self._callers.leave(call)
            if not call.is_unprepared:
                self._tally.add_reject("failed")
            raise
        finally:
            alarm.cancel()
            call.let_go()
            # Its answer may be the error that goes up from here, and knows this frame.
            del call

    def require_time(
        self,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        preparing: int = 0,
    ) -> None:
        """Refuse a request before its picture is prepared, if its answer would be late anyway.

        Args:
            deadline_s: how long the answer may take; None for the engine's deadline.
            priority: whether somebody waits for the answer.
            preparing: pictures that are being prepared already, where nobody told of them by
                `preparing`.

        Raises:
            EngineBusy: there is no time for one more.
        """
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        if self._callers.answer_s(self.lane, priority, preparing) > SHARE_OF_TIME * limit_s:
            self._tally.add_reject("busy")
            raise self._busy()

    def preparing(
        self,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> "AbstractContextManager[Noted]":
        """Count a picture as one that will come, while it is prepared; or refuse it before that.

        Returns:
            A context whose value makes a `Prepare` tell how long it takes.

        Raises:
            EngineBusy: there is no time for one more.
        """
        self.require_time(deadline_s=deadline_s, priority=priority)
        return _Preparing(self._callers, self.lane)

    def run_now(self, tensor: NDArray[np.float32]) -> Outputs:
        """Run the network in the calling thread, past the queue: for probes and tools."""
        self._check(tensor)
        session = self._session
        while session is None:
            self._open_again().result()
            session = self._session
        self.used_at = time.perf_counter()
        return session.run({self._input: tensor})

    def open(self, session: Runnable, plan: BatchPlan) -> None:
        """Serve from `session`, which has proved that it is this network."""
        self.plan = plan
        self._session = session
        self.lane.arrange(
            capacity=plan.capacity,
            in_buckets=plan.in_buckets,
            new_buffer=plan.new_buffer,
            usual_run_s=plan.run_s,
            runs_in_loop=plan.is_brief,
        )
        self._callers.open(self.lane)

    def leave_memory(self) -> bool:
        """Let the session go if nobody is at work with it; False when somebody is."""
        if not self._callers.put_to_sleep(self.lane):
            return False
        self._session = None
        self.count_resident(0)
        return True

    def count_resident(self, size_bytes: int) -> None:
        """Note how much memory the network has."""
        self._tally.resident_bytes += size_bytes - self.resident_bytes
        self.resident_bytes = size_bytes

    def limit_runs(self, at_once: int | None) -> None:
        """Let at most `at_once` runs go on at a time; None: as many as the device has callers."""
        self._callers.limit(self.lane, at_once)

    def hold(self) -> None:
        """Keep the network in memory for one who is about to run it; `let_go` ends it."""
        self._callers.hold(self.lane)

    def let_go(self) -> None:
        """End one `hold`."""
        self._callers.let_go(self.lane)

    async def _enter_awake(self, call: Call) -> None:
        """Queue a request of a network that has left memory, once it is back."""
        self.hold()
        try:
            while not call.answer.done():
                opening = asyncio.wrap_future(self._open_again())
                await asyncio.wait((opening, call.answer), return_when=asyncio.FIRST_COMPLETED)
                if call.answer.done():
                    opening.add_done_callback(_ignore_outcome)
                    return
                if opening.cancelled():
                    raise EngineStopped("The service is stopping.")
                opening.result()
                try:
                    self._callers.enter(self.lane, call)
                except LaneAsleep:
                    # It left again before the hold was seen.
                    continue
                return
        except asyncio.CancelledError:
            opening.add_done_callback(_ignore_outcome)
            raise
        finally:
            self.let_go()

    def _open_again(self) -> Future[None]:
        if self._wake is None:
            raise EngineStopped(f"{self.name} is not loaded any more.")
        return self._wake(self)

    def _prepared(self, prepare: Prepare) -> NDArray[np.float32]:
        tensor = prepare()
        self._check(tensor)
        if len(tensor) != 1:
            raise ValueError(f"one picture was to be prepared, not {len(tensor)}")
        return tensor

    def compute(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network in the calling thread: for the callers, who keep the order."""
        session = self._session
        if session is None:
            raise NetworkFailed(f"{self.name} has left memory")
        return session.run({self._input: batch})

    def _expire(self, call: Call, limit_s: float) -> None:
        self._callers.leave(call)
        call.fail(InferenceDeadline(f"The network gave no answer within {limit_s:g} s."))

    def _busy(self) -> EngineBusy:
        wait_s = self._callers.drain_s(self.lane)
        return EngineBusy(
            f"{self.lane.waiting} pictures wait for an answer already.",
            headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
        )

    def _check(self, tensor: NDArray[np.float32]) -> None:
        if (
            tensor.dtype != np.float32
            or tensor.ndim != 4
            or tensor.shape[1:] != self._shape
            or not len(tensor)
        ):
            raise ValueError(
                f"{self.package.name} reads float32 (N, {', '.join(map(str, self._shape))}), "
                f"not {tensor.dtype} {tensor.shape}"
            )


class _Preparing:
    """One picture that is being prepared, as its lane counts it."""

    __slots__ = ("_callers", "_lane", "_took_s")

    def __init__(self, callers: Callers, lane: Lane) -> None:
        self._callers = callers
        self._lane = lane
        self._took_s = 0.0

    def __enter__(self) -> Noted:
        self._callers.expect(self._lane)
        return self._noted

    def __exit__(self, *_: object) -> None:
        self._callers.expected(self._lane, self._took_s)

    def _noted(self, prepare: Prepare) -> Prepare:
        return partial(self._prepare, prepare)

    def _prepare(self, prepare: Prepare) -> NDArray[np.float32]:
        began_at = time.perf_counter()
        prepared = prepare()
        self._took_s = time.perf_counter() - began_at
        return prepared


def _compute(known: "weakref.ref[Network]", batch: NDArray[np.float32]) -> Outputs:
    network = known()
    if network is None:
        raise NetworkFailed("nobody waits for this network's answers any more")
    return network.compute(batch)


def _ignore_outcome(opening: "asyncio.Future[None]") -> None:
    """Look at what nobody waits for any more, so that nobody is told of it as a loss."""
    if not opening.cancelled():
        opening.exception()
