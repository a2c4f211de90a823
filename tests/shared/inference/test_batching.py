"""Pictures are staged as they arrive and belong to a run only when it begins."""

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.inference.batching import MAX_PASSED_OVER, Batch, Call, Lane, Priority
from shared.inference.metrics import Tally

LATER = float("inf")


def answer_nothing(batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """A network that these tests never run."""
    return {"image": batch.copy()}


def lane_of(capacity: int, *, in_buckets: bool = False) -> Lane:
    """An empty, open lane for pictures of one pixel."""
    lane = Lane(answer_nothing, Tally(), limit=64)
    lane.arrange(capacity=capacity, in_buckets=in_buckets)
    lane.is_open = True
    return lane


def call_of(*values: float, priority: Priority = Priority.INTERACTIVE) -> Call:
    """A request of one-pixel pictures with these values."""
    tensor = np.array(values, np.float32).reshape(-1, 1, 1, 1)
    return Call(tensor, 60.0, priority)


def background(*values: float) -> Call:
    """A request for whose answer nobody waits."""
    return call_of(*values, priority=Priority.BATCH)


def taken(lane: Lane, now: float = 0.0) -> list[float]:
    """The pictures of the next run."""
    batch = lane.take(now)
    assert batch is not None
    return pictures(batch)


def pictures(batch: Batch) -> list[float]:
    """The values of a batch, without padding."""
    return [float(value) for value in batch.array[: len(batch.places), 0, 0, 0]]


async def test_a_run_takes_what_has_arrived_and_no_more() -> None:
    lane = lane_of(4)
    for value in range(6):
        lane.add(call_of(value))

    assert taken(lane) == [0, 1, 2, 3]
    assert taken(lane) == [4, 5]
    assert lane.take(0.0) is None


async def test_a_picture_that_runs_alone_is_not_copied() -> None:
    """Large pictures on a processor gain nothing from a batch, so nothing is paid for one."""
    lane = lane_of(1)
    call = call_of(7)
    lane.add(call)

    batch = lane.take(0.0)

    assert batch is not None
    assert batch.array is call.places[0].tensor


async def test_arrivals_are_staged_while_another_batch_runs() -> None:
    """Two buffers: what runs is not written into."""
    lane = lane_of(2)
    lane.add(call_of(1, 2))
    running = lane.take(0.0)
    lane.add(call_of(3, 4))

    assert running is not None
    assert pictures(running) == [1, 2]
    assert taken(lane) == [3, 4]


async def test_a_buffer_is_used_again() -> None:
    lane = lane_of(2)
    lane.add(call_of(1))
    first = lane.take(0.0)
    assert first is not None
    lane.put_back(first)
    lane.add(call_of(2))
    second = lane.take(0.0)

    assert second is not None
    assert second.buffer is first.buffer


async def test_who_leaves_makes_room_for_those_behind() -> None:
    lane = lane_of(2)
    calls = [call_of(value) for value in (1, 2, 3, 4)]
    for call in calls:
        lane.add(call)

    assert lane.remove(calls[0])
    assert sorted(taken(lane)) == [2, 3]
    assert not lane.remove(calls[1])
    assert taken(lane) == [4]


async def test_a_late_request_is_not_computed() -> None:
    lane = lane_of(2)
    late, early = call_of(1), call_of(2)
    late.expires_at, early.expires_at = 10.0, LATER
    lane.add(late)
    lane.add(early)

    assert taken(lane, now=10.0) == [2]


async def test_batches_grow_in_powers_of_two_on_a_gpu() -> None:
    """Each new size costs a GPU a plan of its own, so there are few of them."""
    lane = lane_of(6, in_buckets=True)
    sizes = []
    for count in range(1, 8):
        for value in range(count):
            lane.add(call_of(value))
        batch = lane.take(0.0)
        assert batch is not None
        sizes.append(len(batch.array))
        lane.remove_all()

    assert sizes == [1, 2, 4, 4, 6, 6, 6]


async def test_interactive_pictures_take_the_rows_of_batch_traffic() -> None:
    lane = lane_of(2)
    for call in (background(1), background(2), call_of(3), call_of(4), call_of(5)):
        lane.add(call)

    assert sorted(taken(lane)) == [3, 4]
    assert taken(lane) == [5, 1]
    assert taken(lane) == [2]


async def test_batch_traffic_is_not_passed_over_for_ever() -> None:
    lane = lane_of(1)
    lane.add(background(-1))
    served = []
    for value in range(2 * MAX_PASSED_OVER):
        lane.add(call_of(value))
        lane.add(call_of(value))
        served += taken(lane)

    assert -1 in served
    assert served.index(-1) <= MAX_PASSED_OVER


async def test_batch_traffic_leaves_half_of_the_queue_to_others() -> None:
    lane = lane_of(1)
    for value in range(32):
        lane.add(background(value))

    assert not lane.has_room_for(background(0))
    assert lane.has_room_for(call_of(0))


async def test_an_answer_of_several_pictures_is_put_together_in_their_order() -> None:
    call = call_of(1, 2, 3)
    for place in (call.places[2], call.places[0], call.places[1]):
        call.settle(place, {"image": place.tensor})

    np.testing.assert_array_equal(
        (await call.answer)["image"], np.array([1, 2, 3], np.float32).reshape(-1, 1, 1, 1)
    )


async def test_work_ahead_is_counted_in_runs() -> None:
    """What a new request is told about its wait depends on who comes before it."""
    lane = lane_of(4)
    for value in range(8):
        lane.add(background(value))
    for value in range(4):
        lane.add(call_of(value))

    assert lane.runs_before(Priority.INTERACTIVE) == 1
    assert lane.runs_before(Priority.INTERACTIVE, preparing=5) == 2
    assert lane.runs_before(Priority.BATCH) == 3


async def test_the_usual_time_of_a_run_is_that_of_full_ones() -> None:
    """A wait is foretold from it, and a queue is worked off in full runs."""
    lane = lane_of(2)
    for values, took_s in (((1, 2), 1.0), ((3,), 0.1), ((4, 5), 0.5), ((6,), 2.0)):
        lane.add(call_of(*values))
        batch = lane.take(0.0)
        assert batch is not None
        batch.took_s = took_s
        lane.put_back(batch)

    assert lane.usual_run_s == pytest.approx(0.9 + 0.2 * (2.0 - 0.9))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4), st.booleans(), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(False), st.just(False)),
        st.tuples(st.just("take"), st.integers(0, 3), st.just(False), st.just(False)),
        st.tuples(st.just("end"), st.integers(0, 3), st.just(False), st.just(False)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(capacity=st.integers(1, 5), in_buckets=st.booleans(), moves=steps)
def test_every_picture_is_computed_at_most_once_and_never_lost(
    capacity: int, in_buckets: bool, moves: list[tuple[str, int, bool, bool]]
) -> None:
    """Whatever comes, leaves, runs and expires in whatever order."""
    asyncio.run(_play(capacity, in_buckets, moves))


async def _play(capacity: int, in_buckets: bool, moves: list[tuple[str, int, bool, bool]]) -> None:
    lane = lane_of(capacity, in_buckets=in_buckets)
    calls: list[Call] = []
    left: set[Call] = set()
    computed: list[float] = []
    running: list[tuple[Batch, list[float]]] = []
    value = 0

    def take() -> bool:
        batch = lane.take(100.0)
        if batch is None:
            return False
        assert 1 <= len(batch.places) <= capacity
        assert not any(place.call in left for place in batch.places)
        assert not any(place.call.expires_at <= 100.0 for place in batch.places)
        found = pictures(batch)
        assert found == [float(place.tensor[0, 0, 0, 0]) for place in batch.places]
        computed.extend(found)
        running.append((batch, found))
        return True

    def end(number: int) -> None:
        batch, found = running.pop(number % len(running))
        # Nobody has written into the buffer while it ran.
        assert pictures(batch) == found
        lane.put_back(batch)

    for kind, number, is_background, is_late in moves:
        if kind == "add":
            values = [float(value + each) for each in range(number)]
            value += number
            call = background(*values) if is_background else call_of(*values)
            call.expires_at = 50.0 if is_late else LATER
            calls.append(call)
            lane.add(call)
        elif kind == "leave" and calls:
            call = calls[number % len(calls)]
            if lane.remove(call):
                left.add(call)
        elif kind == "take":
            take()
        elif kind == "end" and running:
            end(number)
    while take():
        pass
    while running:
        end(0)

    assert lane.waiting == 0
    assert len(computed) == len(set(computed))
    expected = {
        float(place.tensor[0, 0, 0, 0])
        for call in calls
        if call not in left and call.expires_at == LATER
        for place in call.places
    }
    assert expected <= set(computed)


@pytest.mark.parametrize("capacity", [1, 4])
async def test_an_emptied_lane_says_who_was_in_it(capacity: int) -> None:
    lane = lane_of(capacity)
    calls = [call_of(1, 2), background(3, 4, 5), call_of(6)]
    for call in calls:
        lane.add(call)

    assert set(lane.remove_all()) == set(calls)
    assert lane.is_idle
