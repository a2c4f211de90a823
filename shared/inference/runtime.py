"""The one typed door to ONNX Runtime, which ships no type stubs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

# Warnings about hardware that is not there are noise; errors still reach Python as exceptions.
_ERROR = 3
ort.set_default_logger_severity(_ERROR)

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

Provider = tuple[str, Mapping[str, str]]


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
            self._session = ort.InferenceSession(
                network,
                options,
                providers=[name for name, _ in providers],
                provider_options=[dict(settings) for _, settings in providers],
                # The engine decides what to fall back to, and says so in the log.
                enable_fallback=0,
            )
        except Exception as error:  # its exceptions share no base class but this
            raise NetworkFailed(f"ONNX Runtime refuses the network: {error}") from error
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
    """A session whose inputs and outputs stay on the device, at addresses of their own per batch.

    The input is copied to the device once, straight from the staging buffer; the outputs are made
    there and come back in one copy each. A run of a size that was seen before allocates nothing
    for its input. Threads take turns.
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
        self._kind = kind
        self._ordinal = ordinal
        self._bound: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self._turn = threading.Lock()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs.

        Raises:
            NetworkFailed: the run failed.
            ValueError: there is more than one input.
        """
        ((name, batch),) = feeds.items()
        with self._turn:
            return self._run_bound(name, batch)

    def _run_bound(self, name: str, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        try:
            value, binding = self._bound.get(batch.shape) or self._bind(name, batch)
            value.update_inplace(np.ascontiguousarray(batch))
            self._session.run_with_iobinding(binding)
            arrays = binding.copy_outputs_to_cpu()
        except Exception as error:  # its exceptions share no base class but this
            # A failed run may leave a binding half filled.
            self._bound.pop(batch.shape, None)
            raise NetworkFailed(f"the network failed: {error}") from error
        # On the processor the arrays are the binding's own; the next run writes into them.
        return {
            name: array if self._kind != "cpu" else array.copy()
            for name, array in zip(self.output_names, arrays, strict=True)
        }

    def _bind(self, name: str, batch: NDArray[Any]) -> tuple[Any, Any]:
        value = ort.OrtValue.ortvalue_from_shape_and_type(
            list(batch.shape), batch.dtype, self._kind, self._ordinal
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(name, value)
        for output in self.output_names:
            binding.bind_output(output, self._kind, self._ordinal)
        self._bound[batch.shape] = (value, binding)
        return value, binding


def offered_providers() -> tuple[str, ...]:
    """The execution providers that the installed ONNX Runtime was built with."""
    return tuple(ort.get_available_providers())


def load_cuda_libraries() -> None:
    """Load the CUDA libraries that are installed as Python packages, where there are any."""
    ort.preload_dlls()


def _facts(found: Any) -> TensorFacts:
    shape = tuple(axis if isinstance(axis, int) else None for axis in found.shape)
    return TensorFacts(found.name, shape)
