"""One network's queue, most of which is the next batch already.

A picture that arrives is copied straight into the staging buffer of the next batch. When a caller
is free it takes the buffer as it is then, and a fresh one takes its place: until that moment no
picture belongs to a run, nothing waits for a batch to fill, and nobody holds a timer. Pictures
beyond the batch's capacity stand behind it and move up as soon as there is a buffer.

Nothing here locks: whoever calls holds the callers' lock.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.inference.metrics import Tally, Waiting

Outputs = Mapping[str, NDArray[np.float32]]
Compute = Callable[[NDArray[np.float32]], Outputs]
"""From `(N, C, H, W)` to the outputs by name, N rows each, none of them a view of the input."""
NewBuffer = Callable[[tuple[int, ...]], NDArray[np.float32]]
Prepare = Callable[[], NDArray[np.float32]]
"""Makes the `(1, C, H, W)` of one picture, in whatever thread it is called."""

#: So often may batch traffic be passed over before it gets a turn.
MAX_PASSED_OVER = 8
_BEHIND, _TAKEN = -1, -2
_SMOOTHING = 0.2
_NOT_PREPARED = np.zeros((1, 0), np.float32)


class Priority(StrEnum):
    """Whose turn comes first."""

    INTERACTIVE = "interactive"
    """Somebody waits for the answer."""
    BATCH = "batch"
    """Nobody waits; it fills what the others leave, and now and then has a turn of its own."""


class Place:
    """One picture's place in a queue."""

    __slots__ = ("call", "prepare", "row", "tensor", "yields")

    def __init__(
        self,
        call: "Call",
        tensor: NDArray[np.float32],
        yields: bool,
        prepare: Prepare | None = None,
    ) -> None:
        self.call = call
        self.tensor = tensor
        self.prepare = prepare
        self.yields = yields
        self.row = _BEHIND


class Call:
    """One request: its pictures' places, and the answer that is awaited once."""

    __slots__ = (
        "answer",
        "entered_at",
        "expires_at",
        "is_unprepared",
        "lane",
        "loop",
        "parts",
        "places",
        "priority",
        "unsettled",
    )

    def __init__(
        self, source: NDArray[np.float32] | Prepare, limit_s: float, priority: Priority
    ) -> None:
        """Make a request for a queue.

        Args:
            source: `(N, C, H, W)` with N of at least 1, or what makes it, with N of 1; the latter
                only where pictures run alone.
            limit_s: how long the answer may take.
            priority: whose turn comes first.
        """
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Outputs] = self.loop.create_future()
        self.entered_at = time.perf_counter()
        self.expires_at = self.entered_at + limit_s
        self.lane: Lane | None = None
        self.priority = priority
        self.is_unprepared = False
        yields = priority is Priority.BATCH
        if not isinstance(source, np.ndarray):
            self.places = [Place(self, _NOT_PREPARED, yields, source)]
        elif len(source) == 1:
            self.places = [Place(self, source, yields)]
        else:
            self.places = [Place(self, row[np.newaxis], yields) for row in source]
        self.unsettled = len(self.places)
        self.parts: dict[Place, Outputs] = {}

    def let_go(self) -> None:
        """Forget the pictures, once nobody waits any more and no queue holds them.

        Call and places know each other, so that without this the pictures would stay in memory
        until the garbage collector comes.
        """
        self.places = []
        self.parts = {}

    def fail(self, error: Exception) -> None:
        """Answer with an error, on the call's event loop, unless there is an answer already."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def settle(self, place: Place, outputs: Outputs) -> None:
        """Take one picture's outputs, on the call's event loop; the last ones are the answer."""
        if self.answer.done():  # cancelled, late, or failed by another of its pictures
            return
        if len(self.places) == 1:
            self.answer.set_result(outputs)
            return
        self.unsettled -= 1
        self.parts[place] = outputs
        if self.unsettled == 0:
            parts = [self.parts[each] for each in self.places]
            self.answer.set_result(
                {name: np.concatenate([part[name] for part in parts]) for name in outputs}
            )


class Batch:
    """What one run computes."""

    __slots__ = (
        "array",
        "buffer",
        "is_typical",
        "lane",
        "places",
        "prepare_s",
        "started_at",
        "took_s",
    )

    def __init__(
        self,
        lane: "Lane",
        places: list[Place],
        array: NDArray[np.float32],
        buffer: NDArray[np.float32] | None,
        started_at: float,
    ) -> None:
        self.lane = lane
        self.places = places
        self.array = array
        self.buffer = buffer
        self.started_at = started_at
        self.took_s = 0.0
        self.prepare_s = 0.0
        self.is_typical = True


class Lane(Waiting):
    """The queue of one network: a batch that is being staged, and those who stand behind it."""

    def __init__(
        self,
        compute: Compute,
        tally: Tally,
        *,
        limit: int,
    ) -> None:
        """Make an empty queue of runs of one picture, closed until it is arranged and opened.

        Args:
            compute: runs the network.
            tally: where the runs are counted.
            limit: how many pictures may wait; a request that finds so many is refused.
        """
        self.compute = compute
        self.tally = tally
        self.capacity = 1
        self.limit = limit
        self.in_buckets = False
        self.usual_run_s = 0.0
        self.is_open = False
        self.runs_in_loop = False
        self.soon_in: asyncio.AbstractEventLoop | None = None
        self.at_once: int | None = None
        self.running = 0
        self.preparing = 0
        self.usual_prepare_s = 0.0
        self.holders = 0
        self.turns_missed = 0
        self.on_idle: Callable[[], object] | None = None
        self._new_buffer: NewBuffer = _plain_buffer
        self._staged: list[Place] = []
        self._yielding = 0
        self._passed_over = 0
        self._staging: NDArray[np.float32] | None = None
        self._spare: list[NDArray[np.float32]] = []
        self._behind: OrderedDict[Place, None] = OrderedDict()
        self._behind_yielding: OrderedDict[Place, None] = OrderedDict()
        tally.queues.add(self)

    def arrange(
        self,
        *,
        capacity: int,
        in_buckets: bool = False,
        new_buffer: "NewBuffer | None" = None,
        usual_run_s: float = 0.0,
        runs_in_loop: bool = False,
    ) -> None:
        """Say how the network is run, while the queue is closed and empty.

        Args:
            capacity: the most pictures in a run. With 1, a picture is not copied at all.
            in_buckets: whether runs are padded to powers of two, as GPUs like them.
            new_buffer: makes `(capacity, C, H, W)`.
            usual_run_s: how long a full run should take, until some have been measured.
            runs_in_loop: whether the event loop of those who wait runs their pictures.
        """
        self.capacity = capacity
        self.in_buckets = in_buckets
        self._new_buffer = new_buffer or _plain_buffer
        self.usual_run_s = self.usual_run_s or usual_run_s
        self.runs_in_loop = runs_in_loop

    @property
    def waiting(self) -> int:
        """How many pictures wait."""
        return len(self._staged) + len(self._behind) + len(self._behind_yielding)

    @property
    def has_interactive(self) -> bool:
        """Whether somebody waits for one of the pictures."""
        return len(self._staged) > self._yielding

    @property
    def needs_thread(self) -> bool:
        """Whether a thread is to run what waits: all of it, or for which nobody waits."""
        return not self.runs_in_loop or bool(self._yielding or self._behind_yielding)

    @property
    def next_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the picture whose turn is next; only while one is staged."""
        return self._staged[0].call.loop

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, nothing runs and nobody has said that it will come."""
        return not (self.running or self.holders or self.waiting)

    @property
    def has_turn(self) -> bool:
        """Whether one more run may begin beside those that go on."""
        return self.at_once is None or self.running < self.at_once

    @property
    def work_s(self) -> float:
        """How long the pictures that wait will keep one caller busy."""
        return -(-self.waiting // self.capacity) * self.usual_run_s

    @property
    def is_crowded(self) -> bool:
        """Whether pictures stand behind the batch that is being staged."""
        return bool(self._behind or self._behind_yielding)

    def has_room_for(self, call: Call) -> bool:
        """Whether a request may wait: batch traffic may fill no more than half the queue."""
        limit = max(1, self.limit // 2) if call.priority is Priority.BATCH else self.limit
        return self.waiting < limit

    def runs_before(self, priority: Priority, preparing: int = 0) -> int:
        """How many runs come before the one that a new request could be in.

        Args:
            priority: of the request.
            preparing: pictures that are not in the queue yet, but will be before it.
        """
        ahead = len(self._staged) + len(self._behind) + preparing
        if priority is Priority.BATCH:
            ahead += len(self._behind_yielding)
        else:
            ahead -= self._yielding
        return ahead // self.capacity

    def oldest_at(self) -> float:
        """When the picture that has waited longest for the next run arrived."""
        return min(place.call.entered_at for place in self._staged)

    def add(self, call: Call) -> None:
        """Queue a request: into the staging buffer as far as there is room."""
        call.lane = self
        self.refill()
        for place in call.places:
            if len(self._staged) < self.capacity:
                self._stage(place)
            elif place.yields:
                self._behind_yielding[place] = None
            elif self._yielding and not self._behind:
                self._displace_for(place)
            else:
                self._behind[place] = None

    def remove(self, call: Call) -> bool:
        """Take a request out before it is computed; False when a run has all of it already."""
        found = False
        for place in call.places:
            if place.row == _TAKEN:
                continue
            found = True
            if place.row == _BEHIND:
                self._behind.pop(place, None)
                self._behind_yielding.pop(place, None)
            else:
                self._unstage(place)
            place.row = _TAKEN
        self.refill()
        return found

    def remove_all(self) -> list[Call]:
        """Empty the queue, and say who was in it."""
        calls = dict.fromkeys(
            place.call for place in (*self._staged, *self._behind, *self._behind_yielding)
        )
        for call in calls:
            self.remove(call)
        return list(calls)

    def refill(self) -> None:
        """Let those who stand behind move up into the staging buffer."""
        while self.is_crowded and len(self._staged) < self.capacity:
            behind = self._behind or self._behind_yielding
            place, _ = behind.popitem(last=False)
            self._stage(place)

    def take(self, now: float) -> Batch | None:
        """Take the batch as it is now; None when all of it has expired.

        Who expired is not told here: the deadline's own timer does that.
        """
        self.refill()
        while late := {place.call for place in self._staged if place.call.expires_at <= now}:
            for call in late:
                self.remove(call)
        if not self._staged:
            return None
        self._let_batch_traffic_pass()
        places, buffer = self._staged, self._staging
        self._staged, self._yielding = [], 0
        self._staging = None
        for place in places:
            place.row = _TAKEN
        if buffer is None:
            return Batch(self, places, places[0].tensor, None, now)
        rows = len(places)
        if self.in_buckets:
            rows = min(1 << (rows - 1).bit_length(), self.capacity)
        return Batch(self, places, buffer[:rows], buffer, now)

    def put_back(self, batch: Batch) -> None:
        """Note a run's end: its buffer can stage another batch."""
        if batch.buffer is not None and self.is_open:
            self._spare.append(batch.buffer)
        # A short batch ends sooner than the full ones that a long queue makes, and what could not
        # be prepared sooner than anything.
        if not batch.is_typical:
            return
        if len(batch.places) == self.capacity or batch.took_s > self.usual_run_s:
            if self.usual_run_s == 0.0:
                self.usual_run_s = batch.took_s
            self.usual_run_s += _SMOOTHING * (batch.took_s - self.usual_run_s)

    def note_preparation(self, took_s: float) -> None:
        """Remember how long a picture took that was prepared before it came."""
        if self.usual_prepare_s == 0.0:
            self.usual_prepare_s = took_s
        self.usual_prepare_s += _SMOOTHING * (took_s - self.usual_prepare_s)

    def forget_buffers(self) -> None:
        """Give the buffers' memory back; the queue is empty."""
        self._staging = None
        self._spare.clear()

    def _stage(self, place: Place) -> None:
        place.row = len(self._staged)
        self._staged.append(place)
        self._yielding += place.yields
        self._copy(place)

    def _copy(self, place: Place) -> None:
        if self.capacity == 1:
            return
        if self._staging is None:
            self._staging = (
                self._spare.pop()
                if self._spare
                else self._new_buffer((self.capacity, *place.tensor.shape[1:]))
            )
        self._staging[place.row] = place.tensor[0]

    def _unstage(self, place: Place) -> None:
        """Let the last of the batch take the row of one that leaves."""
        self._yielding -= place.yields
        last = self._staged.pop()
        if last is not place:
            last.row = place.row
            self._staged[last.row] = last
            self._copy(last)

    def _displace_for(self, place: Place) -> None:
        """Give the row of the youngest batch picture to one that somebody waits for."""
        displaced = next(other for other in reversed(self._staged) if other.yields)
        place.row, displaced.row = displaced.row, _BEHIND
        self._staged[place.row] = place
        self._yielding -= 1
        self._copy(place)
        self._behind_yielding[displaced] = None
        self._behind_yielding.move_to_end(displaced, last=False)

    def _let_batch_traffic_pass(self) -> None:
        """Put the oldest batch picture first once it has been passed over often enough."""
        if not self._behind_yielding or self._yielding:
            self._passed_over = 0
            return
        self._passed_over += 1
        if self._passed_over < MAX_PASSED_OVER:
            return
        self._passed_over = 0
        place, _ = self._behind_yielding.popitem(last=False)
        place.yields = False
        self._behind[place] = None
        self._behind.move_to_end(place, last=False)


def _plain_buffer(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)
