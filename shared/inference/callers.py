"""The threads that run networks, and what they do next.

All networks of an engine share the threads. A thread that is free takes the next batch of the
network whose turn it is. The waiters of a batch are woken together, once on each event loop.

A network whose run takes less than a thread would take to begin is run by the event loop of those
who wait: what has arrived in one of its turns is one batch. Only pictures for which nobody waits
go to the threads then.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.inference.batching import (
    MAX_PASSED_OVER,
    Batch,
    Call,
    Compute,
    Lane,
    Outputs,
    Place,
    Priority,
)
from shared.inference.runtime import NetworkFailed
from shared.inference.waking import LatestFirst
from shared.problems import Problem

#: A request is admitted if its answer should be there in this share of its time. All who wait
#: would be late together if a run took a little longer than usual.
SHARE_OF_TIME = 0.8

#: So many runs wait for each thread in a crowd.
_CROWD = 8

P = ParamSpec("P")
T = TypeVar("T")


class QueueFull(Exception):
    """The queue holds as many requests as it may, or more than can be answered in time."""


class QueueClosed(Exception):
    """No request is taken any more."""


class LaneAsleep(Exception):
    """The network is not in memory."""


class Outcome(NamedTuple):
    """What a run gave for one place: its row of the outputs, all of them, or an error."""

    place: Place
    outputs: Outputs | None
    row: int | None
    error: Exception | None


class Callers:
    """`count` threads that run the batches of all lanes."""

    def __init__(self, count: int, name: str, preparers: int | None = None) -> None:
        """Start the threads.

        Args:
            count: of threads that run networks.
            name: of the threads.
            preparers: how many threads elsewhere prepare pictures; None for as many.
        """
        self.count = count
        self.preparers = preparers or count
        # The lanes in which somebody waits.
        self._lanes: dict[Lane, None] = {}
        self._changed = LatestFirst()
        self._running: dict[Batch, None] = {}
        # Answers that wait for the next run's.
        self._kept: list[tuple[Lane, list[Outcome]]] = []
        self._closed = False
        self._idle = 0
        self._waking = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many pictures wait for a thread."""
        with self._changed:
            return sum(lane.waiting for lane in self._lanes)

    def enter(self, lane: Lane, call: Call) -> None:
        """Queue a request.

        Raises:
            QueueFull: too many wait already, or its deadline would pass before its turn.
            QueueClosed: `close` was called.
            LaneAsleep: the lane is closed for now.
        """
        with self._changed:
            if self._closed:
                raise QueueClosed
            if not lane.is_open:
                raise LaneAsleep
            if not lane.has_room_for(call):
                raise QueueFull
            time_left_s = call.expires_at - time.perf_counter()
            if self._answer_s(lane, call.priority) > SHARE_OF_TIME * time_left_s:
                raise QueueFull
            lane.add(call)
            self._lanes[lane] = None
            if lane.runs_in_loop and call.priority is not Priority.BATCH:
                self._run_soon(lane, call.loop)
            if not lane.needs_thread:
                return
            # One thread for each batch that waits; one that is on its way takes what it finds.
            batches = -(-lane.waiting // lane.capacity)
            missing = min(batches, self._idle) - self._waking
            if missing > 0:
                self._waking += missing
                self._changed.notify(missing)

    def leave(self, call: Call) -> bool:
        """Take a request out before it is computed; False when a thread already has it."""
        with self._changed:
            lane = call.lane
            if lane is None or not lane.remove(call):
                return False
            if not lane.waiting:
                self._lanes.pop(lane, None)
            on_idle = lane.on_idle if lane.is_idle else None
        if on_idle is not None:
            on_idle()
        return True

    def answer_s(self, lane: Lane, priority: Priority, preparing: int = 0) -> float:
        """When a request should be answered whose picture has still to be prepared.

        It comes after those that are being prepared now, and after `preparing` pictures more.
        """
        with self._changed:
            before = lane.preparing + preparing
            answer_s = self._answer_s(lane, priority, before)
            if answer_s == 0.0:
                return 0.0
            return answer_s + lane.usual_prepare_s * (1 + before / self.preparers)

    def expect(self, lane: Lane) -> None:
        """Count a picture that is being prepared, and will enter `lane`."""
        with self._changed:
            lane.preparing += 1

    def expected(self, lane: Lane, prepare_s: float) -> None:
        """End one `expect`, whose picture took so long; 0 where it was not prepared."""
        with self._changed:
            lane.preparing -= 1
            if prepare_s:
                lane.note_preparation(prepare_s)

    def drain_s(self, lane: Lane) -> float:
        """How long the pictures that wait in `lane` and elsewhere will keep the threads busy."""
        with self._changed:
            count = self._count_for(lane)
            return (sum(each.work_s for each in self._lanes) + lane.usual_run_s) / count

    def hold(self, lane: Lane) -> None:
        """Keep a lane from being idle, for one who is about to enter it."""
        with self._changed:
            lane.holders += 1

    def let_go(self, lane: Lane) -> None:
        """End one `hold`."""
        with self._changed:
            lane.holders -= 1
            on_idle = lane.on_idle if lane.is_idle else None
        if on_idle is not None:
            on_idle()

    def put_to_sleep(self, lane: Lane) -> bool:
        """Close a lane that is idle; False when it is at work."""
        with self._changed:
            if not lane.is_idle:
                return False
            lane.is_open = False
            lane.forget_buffers()
        return True

    def open(self, lane: Lane) -> None:
        """Let requests into a lane."""
        with self._changed:
            lane.is_open = True

    def limit(self, lane: Lane, at_once: int | None) -> None:
        """Let at most `at_once` runs of a lane go on at a time; None for as many as there are."""
        with self._changed:
            lane.at_once = at_once
            self._changed.notify_all()
            self._run_soon_elsewhere(lane)

    def close(self, timeout_s: float) -> None:
        """Refuse new requests, answer those that wait with `QueueClosed`, finish those that run."""
        with self._changed:
            self._closed = True
            abandoned = [call for lane in self._lanes for call in lane.remove_all()]
            self._lanes.clear()
            self._changed.notify_all()
        for call in abandoned:
            with contextlib.suppress(RuntimeError):
                call.loop.call_soon_threadsafe(call.fail, QueueClosed())
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _answer_s(self, lane: Lane, priority: Priority, preparing: int = 0) -> float:
        """When a new request should be answered, if others are ahead of it; otherwise 0.

        Nobody is refused because of a pace alone: it may have been a bad moment, and only runs
        show a better one.
        """
        others_s = sum(other.work_s for other in self._lanes if other is not lane)
        runs = lane.runs_before(priority, preparing)
        if runs == 0 and others_s == 0.0:
            return 0.0
        # The run that goes on now is ahead too, and then comes its own.
        count = self._count_for(lane)
        return ((runs + 1) * lane.usual_run_s + others_s) / count + lane.usual_run_s

    def _count_for(self, lane: Lane) -> int:
        """How many may run a lane at a time."""
        if lane.runs_in_loop:
            return 1
        return self.count if lane.at_once is None else max(1, min(self.count, lane.at_once))

    def _serve(self) -> None:
        while (batch := self._next()) is not None:
            self._hand_over(batch, _outcomes_of(batch))
            self._end(batch)
            # Nothing of a request outlives it while the thread waits for the next one.
            del batch
        self._hand_over_kept()

    def _run_soon(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        """Run a lane once the event loop, which is this one, has read what else has arrived."""
        if lane.soon_in is not loop:
            lane.soon_in = loop
            loop.call_soon(self._run_in_loop, lane, loop)

    def _run_soon_elsewhere(self, lane: Lane) -> None:
        """The same for those who wait on another event loop, or on this."""
        lane.refill()
        if lane.runs_in_loop and lane.has_interactive:
            loop = lane.next_loop
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._run_in_loop, lane, loop)

    def _run_in_loop(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        with self._changed:
            if lane.soon_in is loop:
                lane.soon_in = None
            batch = self._take_from(lane) if lane.has_turn else None
            # The rest comes after what has arrived meanwhile; or after the runs that go on.
            if lane.has_turn and (lane.has_interactive or lane.is_crowded):
                self._run_soon(lane, loop)
        if batch is not None:
            outcomes = _outcomes_of(batch)
            _count(batch, outcomes)
            self._deliver([(batch.lane, outcomes)], loop)
            self._end(batch)

    def _next(self) -> Batch | None:
        """Wait for a batch; None when all is over."""
        with self._changed:
            while (batch := self._take()) is None:
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
                self._waking = max(0, self._waking - 1)
        return batch

    def _end(self, batch: Batch) -> None:
        with self._changed:
            lane = batch.lane
            lane.running -= 1
            self._running.pop(batch, None)
            lane.put_back(batch)
            if lane.at_once is not None and lane.waiting:
                # Nobody was woken for what could not begin; this thread may take another's.
                self._changed.notify()
                self._run_soon_elsewhere(lane)
            on_idle = lane.on_idle if lane.is_idle else None
        if on_idle is not None:
            on_idle()

    def _take(self) -> Batch | None:
        while (lane := self._choose()) is not None:
            if (batch := self._take_from(lane)) is not None:
                return batch
        return None

    def _take_from(self, lane: Lane) -> Batch | None:
        batch = lane.take(time.perf_counter())
        if not lane.waiting:
            self._lanes.pop(lane, None)
        if batch is not None:
            lane.running += 1
            self._running[batch] = None
        return batch

    def _choose(self) -> Lane | None:
        """The lane with the oldest picture that somebody waits for; batch traffic after those."""
        if len(self._lanes) == 1:
            only = next(iter(self._lanes))
            return only if only.has_turn and only.needs_thread else None
        lanes = [lane for lane in self._lanes if lane.has_turn and lane.needs_thread]
        if not lanes:
            return None
        for lane in lanes:
            lane.refill()
        chosen = min(
            lanes,
            key=lambda lane: (
                not lane.has_interactive and lane.turns_missed < MAX_PASSED_OVER,
                lane.oldest_at(),
            ),
        )
        for lane in lanes:
            lane.turns_missed = 0 if lane is chosen else lane.turns_missed + 1
        return chosen

    def _hand_over(self, batch: Batch, outcomes: list[Outcome]) -> None:
        """Answer those of a run, or keep the answers until the next run's go with them."""
        _count(batch, outcomes)
        with self._changed:
            self._kept.append((batch.lane, outcomes))
            if len(self._kept) == 1 and self._may_keep(batch):
                return
        self._hand_over_kept()

    def _hand_over_kept(self) -> None:
        with self._changed:
            kept, self._kept = self._kept, []
        self._deliver(kept)

    def _may_keep(self, batch: Batch) -> bool:
        """Whether another run will end in a moment, and nobody minds waiting for that.

        An answer makes its client ask again: event loops, gateway and client are woken, each on a
        core whose caches the network has filled. Two answers at once cost them little more than
        one. In a crowd that is worth half a run to those who have waited for many.
        """
        lane, now = batch.lane, time.perf_counter()
        is_crowd = lane.waiting >= _CROWD * self.count * lane.capacity
        if lane.runs_in_loop or not batch.is_typical or not is_crowd:
            return False
        if any(place.call.expires_at < now + _CROWD * lane.usual_run_s for place in batch.places):
            return False
        return any(
            other is not batch
            and not other.lane.runs_in_loop
            and 0.5 * other.lane.usual_run_s < now - other.started_at < 2 * other.lane.usual_run_s
            and other.lane.usual_run_s <= lane.usual_run_s
            for other in self._running
        )

    def _deliver(
        self,
        parts: Sequence[tuple[Lane, list[Outcome]]],
        here: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Give every event loop the answers of those who wait on it, and wake it once."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Lane, list[Outcome]]]] = {}
        for lane, outcomes in parts:
            loops = dict.fromkeys(outcome.place.call.loop for outcome in outcomes)
            for loop in loops:
                mine = outcomes
                if len(loops) > 1:
                    mine = [outcome for outcome in outcomes if outcome.place.call.loop is loop]
                by_loop.setdefault(loop, []).append((lane, mine))
        for loop, mine_of_lanes in by_loop.items():
            if loop is here:
                self._settle(mine_of_lanes)
                continue
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, mine_of_lanes)

    def _settle(self, parts: Sequence[tuple[Lane, list[Outcome]]]) -> None:
        """Answer those who wait on this event loop."""
        for lane, outcomes in parts:
            for outcome in outcomes:
                _answer(outcome)
            self.refill(lane)

    def refill(self, lane: Lane) -> None:
        """Stage those who stand behind, while the threads compute."""
        if lane.is_crowded:
            with self._changed:
                lane.refill()


def _count(batch: Batch, outcomes: list[Outcome]) -> None:
    """Count a run."""
    tally = batch.lane.tally
    tally.add_queued([batch.started_at - each.place.call.entered_at for each in outcomes])
    if batch.is_typical:
        tally.add_run(batch.took_s - batch.prepare_s, len(outcomes))


def _outcomes_of(batch: Batch) -> list[Outcome]:
    """Run a batch; if it fails, each of its pictures alone, so that none pays for another."""
    places = batch.places
    began_at = time.perf_counter()
    prepare = places[0].prepare
    if prepare is not None:
        prepared, error = _tried(prepare)
        if prepared is None:
            batch.is_typical = False
            places[0].call.is_unprepared = True
            return [Outcome(places[0], None, None, error)]
        batch.array = prepared
        batch.prepare_s = time.perf_counter() - began_at
        if places[0].call.answer.done():
            # Cancelled, or late: nobody wants what would be computed.
            batch.is_typical = False
            return [Outcome(places[0], None, None, QueueClosed())]
    outputs, error = _tried(_checked_run, batch.lane.compute, batch.array)
    if len(places) == 1 and (outputs is None or len(batch.array) == 1):
        outcomes = [Outcome(places[0], outputs, None, error)]
    elif outputs is None:
        outcomes = [_outcome_alone(batch, row) for row in range(len(places))]
    else:
        outcomes = [Outcome(place, outputs, row, None) for row, place in enumerate(places)]
    batch.took_s = time.perf_counter() - began_at
    return outcomes


def _outcome_alone(batch: Batch, row: int) -> Outcome:
    outputs, error = _tried(_checked_run, batch.lane.compute, batch.array[row : row + 1])
    return Outcome(batch.places[row], outputs, None, error)


def _tried(
    work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
) -> tuple[T, None] | tuple[None, Exception]:
    """What `work` gives, or the error that it raises: the waiter gets it, whatever it is."""
    try:
        return work(*arguments, **keywords), None
    except Problem as problem:
        _forget_frames(problem)
        return None, problem
    except Exception as error:
        return None, error


def _forget_frames(problem: BaseException | None) -> None:
    """Let an expected failure go without the frames that it went through, which nobody logs.

    They hold the request, whose answer is the failure: both would stay until the garbage collector
    comes, and with them every unreadable file that somebody sends.
    """
    while problem is not None:
        problem.__traceback__ = None
        problem = problem.__cause__ or problem.__context__


def _checked_run(compute: Compute, array: NDArray[np.float32]) -> Outputs:
    """Outputs that have a row for every picture, when there are several."""
    outputs = compute(array)
    rows = len(array)
    if rows > 1 and any(
        not len(output.shape) or len(output) != rows for output in outputs.values()
    ):
        raise NetworkFailed(f"the network did not give {rows} answers to {rows} pictures")
    return outputs


def _answer(outcome: Outcome) -> None:
    place, outputs, row, error = outcome
    if error is not None or outputs is None:
        place.call.fail(error or QueueClosed())
    elif row is None:
        place.call.settle(place, outputs)
    else:
        place.call.settle(place, {name: output[row : row + 1] for name, output in outputs.items()})
