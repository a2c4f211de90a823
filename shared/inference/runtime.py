"""The one typed door to ONNX Runtime, which ships no type stubs."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

# Warnings about hardware that is not there are noise; errors still reach Python as exceptions.
_ERROR, _FATAL = 3, 4
ort.set_default_logger_severity(_ERROR)

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

Provider = tuple[str, Mapping[str, str]]

# While one session records what the device is to replay, nobody may ask the device for anything.
_device_turn = threading.Lock()


class NetworkFailed(RuntimeError):
    """ONNX Runtime could not create a session or run it."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """The name and the shape of an input or output; None for an axis that may vary."""

    name: str
    shape: tuple[int | None, ...]


class Runnable(Protocol):
    """What the engine needs of a network, wherever it runs."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[np.float32]]:
        """Compute all outputs; called from as many threads as the device has callers.

        The outputs are new arrays: what is fed may be overwritten as soon as this returns.
        """
        ...


class Session:
    """One network in memory; `run` may be called from many threads and releases the GIL."""

    def __init__(self, network: bytes, providers: Sequence[Provider], threads_per_run: int) -> None:
        """Create the session.

        Raises:
            NetworkFailed: ONNX Runtime refuses the network or the device.
        """
        self._session = _open(network, providers, threads_per_run)
        self.inputs = tuple(_facts(found) for found in self._session.get_inputs())
        self.outputs = tuple(_facts(found) for found in self._session.get_outputs())
        self.output_names = tuple(output.name for output in self.outputs)
        self.provider: str = self._session.get_providers()[0]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs.

        Raises:
            NetworkFailed: the run failed.
        """
        try:
            arrays = self._session.run(None, feeds)
        except Exception as error:  # its exceptions share no base class but this
            raise NetworkFailed(f"the network failed: {error}") from error
        return dict(zip(self.output_names, arrays, strict=True))


class BoundSession(Session):
    """A network on a GPU: one session for each size of batch, whose input stays on the device.

    For every convolution ONNX Runtime keeps the plan of the last size alone. With one session for
    all, a batch of another size than the last one makes hundreds of plans anew, which takes
    longer than tens of runs.

    The input is copied to the device once, straight from the staging buffer. The outputs come back
    into memory that ONNX Runtime keeps: a run of a size that was seen before asks the system for
    none, which for large outputs would take longer than the run. Threads take turns.
    """

    def __init__(
        self,
        network: bytes,
        providers: Sequence[Provider],
        threads_per_run: int,
        kind: str,
        ordinal: int,
    ) -> None:
        """Create the session for the device that ONNX Runtime calls `kind` and `ordinal`.

        Raises:
            NetworkFailed: ONNX Runtime refuses the network or the device.
        """
        super().__init__(network, providers, threads_per_run)
        # What failed has been raised. From here on it would tell of each plan for a convolution in
        # 16 bits that the device does not offer: hundreds of lines for one network.
        ort.set_default_logger_severity(_FATAL)
        self._network = network
        self._providers = providers
        self._threads_per_run = threads_per_run
        self._kind = kind
        self._ordinal = ordinal
        self._bound: dict[tuple[int, ...], _Bound] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs.

        Raises:
            NetworkFailed: the run failed.
            ValueError: there is more than one input.
        """
        ((name, batch),) = feeds.items()
        with _device_turn:
            try:
                bound = self._bound.get(batch.shape)
                if bound is None:
                    bound = self._bound[batch.shape] = self._bind(name, batch)
                bound.value.update_inplace(np.ascontiguousarray(batch))
                arrays = self._run_bound(bound)
            except Exception as error:  # its exceptions share no base class but this
                # A failed run may leave a binding half filled.
                self._bound.pop(batch.shape, None)
                raise NetworkFailed(f"the network failed: {error}") from error
        return dict(zip(self.output_names, arrays, strict=True))

    def _run_bound(self, bound: "_Bound") -> list[NDArray[np.float32]]:
        # Bound anew they are made anew, and live for as long as their arrays.
        bound.binding.clear_binding_outputs()
        for output in self.output_names:
            bound.binding.bind_output(output)
        bound.session.run_with_iobinding(bound.binding)
        return [value.numpy() for value in bound.binding.get_outputs()]

    def _bind(self, name: str, batch: NDArray[Any]) -> "_Bound":
        session = self._session
        if self._bound:
            session = _open(self._network, self._providers, self._threads_per_run)
        value = self._place(batch.shape, batch.dtype)
        binding = session.io_binding()
        binding.bind_ortvalue_input(name, value)
        return _Bound(session, value, binding)

    def _place(self, shape: Sequence[int], kind: Any) -> Any:
        """Room for an array on the device."""
        return ort.OrtValue.ortvalue_from_shape_and_type(
            list(shape), kind, self._kind, self._ordinal
        )


class _Bound(NamedTuple):
    """What batches of one size are run with."""

    session: Any
    value: Any
    """The input on the device."""
    binding: Any


class RecordedSession(BoundSession):
    """A bound session whose run is recorded once for each size of batch, and then replayed.

    Starting the hundreds of kernels of a network one by one takes the processor longer than they
    take a GPU when there are only a few pictures; a recording (a CUDA graph) is started as one.
    ONNX Runtime keeps recordings for the thread that made them, so one thread does all runs.

    Source:
        ONNX Runtime's documentation, "CUDA Execution Provider", section "Using CUDA Graphs".
    """

    def __init__(
        self,
        network: bytes,
        providers: Sequence[Provider],
        threads_per_run: int,
        kind: str,
        ordinal: int,
    ) -> None:
        """Create the session; `providers` ask for recordings.

        Raises:
            NetworkFailed: ONNX Runtime refuses the network or the device, or cannot record it.
        """
        super().__init__(network, providers, threads_per_run, kind, ordinal)
        self._thread = ThreadPoolExecutor(1, "recorded-runs")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs; the first run of a size of batch records it.

        Raises:
            NetworkFailed: the run failed.
            ValueError: there is more than one input.
        """
        return self._thread.submit(super().run, feeds).result()

    def _run_bound(self, bound: _Bound) -> list[NDArray[np.float32]]:
        bound.session.run_with_iobinding(bound.binding)
        arrays = bound.binding.copy_outputs_to_cpu()
        # On the processor the arrays are the binding's own; the next run writes into them.
        return [array if self._kind != "cpu" else array.copy() for array in arrays]

    def _bind(self, name: str, batch: NDArray[Any]) -> _Bound:
        bound = super()._bind(name, batch)
        # What is replayed writes to the addresses it was recorded with, so the outputs need memory
        # that stays; only a run tells how much, and it is not to be recorded.
        for output in self.output_names:
            bound.binding.bind_output(output, self._kind, self._ordinal)
        unrecorded = ort.RunOptions()
        unrecorded.add_run_config_entry("gpu_graph_id", "-1")
        bound.session.run_with_iobinding(bound.binding, unrecorded)
        shapes = [value.shape() for value in bound.binding.get_outputs()]
        for output, shape in zip(self.output_names, shapes, strict=True):
            bound.binding.bind_ortvalue_output(output, self._place(shape, np.float32))
        return bound


def _open(network: bytes, providers: Sequence[Provider], threads_per_run: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_per_run
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERROR
    # A spinning thread takes the core from whoever needs it next: 1.5 to 1.8 times slower
    # as soon as anything else runs on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(
            network,
            options,
            providers=[name for name, _ in providers],
            provider_options=[dict(settings) for _, settings in providers],
            # The engine decides what to fall back to, and says so in the log.
            enable_fallback=0,
        )
    except Exception as error:  # its exceptions share no base class but this
        raise NetworkFailed(f"ONNX Runtime refuses the network: {error}") from error


def offered_providers() -> tuple[str, ...]:
    """The execution providers that the installed ONNX Runtime was built with."""
    return tuple(ort.get_available_providers())


def load_cuda_libraries() -> None:
    """Load the CUDA libraries that are installed as Python packages, where there are any."""
    ort.preload_dlls()


def _facts(found: Any) -> TensorFacts:
    shape = tuple(axis if isinstance(axis, int) else None for axis in found.shape)
    return TensorFacts(found.name, shape)
