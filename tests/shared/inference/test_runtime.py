"""Sessions with bound inputs and outputs, and the memory that feeds them.

No machine that runs these tests needs a GPU: the binding is proved on the processor, where ONNX
Runtime takes the same calls.
"""

import gc
import threading
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from shared.inference.pinned import pinned_buffer
from shared.inference.runtime import CPU_PROVIDER, BoundSession, NetworkFailed, RecordedSession
from tests.shared.inference.packages import SIDE_PX, mean_network


@pytest.fixture(params=[BoundSession, RecordedSession])
def session(request: pytest.FixtureRequest) -> BoundSession:
    """Each kind of bound session, on the processor."""
    network = mean_network().SerializeToString()
    made: BoundSession = request.param(network, [(CPU_PROVIDER, {})], 1, "cpu", 0)
    return made


def pictures(*values: float) -> NDArray[np.float32]:
    """Pictures, each of one value."""
    column = np.array(values, np.float32).reshape(-1, 1, 1, 1)
    return np.broadcast_to(column, (len(values), 1, SIDE_PX, SIDE_PX)).copy()


def test_a_bound_session_answers_every_size_of_batch(session: BoundSession) -> None:
    for values in ([0.5], [1, 2], [0.25], [3, 4, 5, 6], [7, 8]):
        outputs = session.run({"image": pictures(*values)})

        np.testing.assert_allclose(outputs["logits"][:, 0], values, atol=1e-6)


def test_an_answer_outlives_the_next_run(session: BoundSession) -> None:
    """The device's memory is used again; what was answered is not."""
    first = session.run({"image": pictures(1, 2)})["logits"]
    session.run({"image": pictures(3, 4)})

    np.testing.assert_allclose(first[:, 0], [1, 2], atol=1e-6)


def test_each_size_of_batch_has_a_session_of_its_own(
    session: BoundSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime plans convolutions anew whenever a session sees another size than before."""
    opened: list[object] = []

    def open_session(*arguments: Any, **keywords: Any) -> Any:
        opened.append(arguments)
        return create(*arguments, **keywords)

    create = onnxruntime.InferenceSession
    monkeypatch.setattr("shared.inference.runtime.ort.InferenceSession", open_session)
    for values in ([1], [1, 2], [3], [3, 4], [1, 2, 3, 4], [5]):
        session.run({"image": pictures(*values)})

    # The first size has the session that was there already.
    assert len(opened) == 2


def test_a_part_of_a_buffer_can_be_run(session: BoundSession) -> None:
    """A staging buffer is seldom full."""
    buffer = pictures(1, 2, 3, 4)

    outputs = session.run({"image": buffer[:2]})

    np.testing.assert_allclose(outputs["logits"][:, 0], [1, 2], atol=1e-6)


def test_a_failed_run_does_not_spoil_the_next(session: BoundSession) -> None:
    with pytest.raises(NetworkFailed):
        session.run({"image": np.zeros((1, 1, SIDE_PX, SIDE_PX + 1), np.float32)})

    outputs = session.run({"image": pictures(1)})
    np.testing.assert_allclose(outputs["logits"][:, 0], [1], atol=1e-6)


def test_threads_take_turns_with_a_bound_session(session: BoundSession) -> None:
    """A readiness probe runs beside the caller, on the same device memory."""
    wrong: list[float] = []

    def hammer(value: float) -> None:
        for _ in range(200):
            logits = session.run({"image": pictures(value)})["logits"]
            if not np.allclose(logits[:, 0], value, atol=1e-5):
                wrong.append(value)

    threads = [threading.Thread(target=hammer, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_pinned_buffer_is_an_ordinary_array_of_zeros() -> None:
    """Also where there is no driver to pin it."""
    buffer = pinned_buffer((3, 2, 5))
    assert buffer.shape == (3, 2, 5)
    assert buffer.dtype == np.float32
    assert not buffer.any()
    buffer[1] = 7
    part = buffer[1:2]
    del buffer
    gc.collect()

    np.testing.assert_array_equal(part, np.full((1, 2, 5), 7, np.float32))
