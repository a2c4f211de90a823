"""Loads networks onto a device, replaces them while they serve, and lets idle ones go."""

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import NamedTuple, ParamSpec, Self, TypeVar

import structlog

from shared.cores import divide_cores
from shared.inference.batching import Outputs, Priority
from shared.inference.callers import Callers
from shared.inference.devices import Device, choose_device, on_cpu
from shared.inference.errors import EngineBusy, EngineStopped, InferenceDeadline
from shared.inference.manifest import Manifest
from shared.inference.memory import Residents, resident_memory_bytes
from shared.inference.network import Network
from shared.inference.package import ModelPackage
from shared.inference.pinned import pinned_buffer
from shared.inference.runtime import NetworkFailed, Runnable
from shared.inference.served import Served
from shared.inference.sessions import OpenSession, create_session, suited_to
from shared.inference.vectors import check_vectors
from shared.inference.warmup import BatchPlan, plan_batches

__all__ = [
    "Engine",
    "EngineBusy",
    "EngineStopped",
    "InferenceDeadline",
    "Network",
    "Outputs",
    "Priority",
    "Served",
]

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """Holds the device, its threads and the networks loaded on it.

    All networks of an engine share its threads, so that a process never computes on more cores
    than it may use, however many networks it holds.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: int | None = None,
        *,
        waiting_limit: int = 256,
        deadline_s: float = 30.0,
        memory_limit_bytes: int | None = None,
        open_session: OpenSession | None = None,
        measure_memory: Callable[[], int] = resident_memory_bytes,
    ) -> None:
        """Choose the device; its threads start with the first network.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            threads: processor cores to use; None for all that the process may use.
            waiting_limit: how many pictures may wait for a network; the next is `EngineBusy`.
            deadline_s: how long a request may take when it does not say.
            memory_limit_bytes: what the networks may take up together; None for no limit.
            open_session: creates sessions; None for ONNX Runtime's.
            measure_memory: says how many bytes the process, or the device, has in use.

        Raises:
            DeviceUnavailable: a GPU is asked for by name and is not here.
        """
        self._may_fall_back = device == "auto"
        self._threads = threads
        self.device: Device = choose_device(device, threads)
        self._waiting_limit = waiting_limit
        self._deadline_s = deadline_s
        self._open_session = open_session or create_session
        self._measure_memory = measure_memory
        self._callers: Callers | None = None
        self._residents = Residents(memory_limit_bytes)
        self._networks: dict[tuple[str, str, str], Network] = {}
        self._served: dict[str, Served] = {}
        self._opening: dict[Network, Future[None]] = {}
        self._lock = threading.Lock()
        self._loader: ThreadPoolExecutor | None = None
        self._closed = False
        log.info("device_chosen", device=str(self.device), why=self.device.why)

    @property
    def networks(self) -> tuple[Network, ...]:
        """Every version of every model that is loaded."""
        return tuple(self._networks.values())

    def find_network(self, model: str, version: str) -> Network | None:
        """The loaded network of this model and version."""
        for network in self.networks:
            if (network.manifest.id, network.manifest.version) == (model, version):
                return network
        return None

    def load(self, package: ModelPackage) -> Network:
        """Bring a verified package into memory, once, and warm it up with its test vectors.

        The vectors run on the device that will serve: a GPU that answers otherwise is found
        here, not by a patient.

        Raises:
            PackageRefused: the file changed since it was verified, or a vector fails here.
            NetworkFailed: the device does not take the network.
            OutOfMemory: the networks at work leave no room for it.
            EngineStopped: the engine is closed.
        """
        manifest = package.manifest
        key = (manifest.id, manifest.version, manifest.sha256)
        with self._residents.loading:
            if self._closed:
                raise EngineStopped("This engine is closed.")
            if key in self._networks:
                return self._networks[key]
            opened = self._open(package, None)
            if self._callers is None:
                cores = divide_cores(self._threads, on_gpu=self.device.kind != "cpu")
                self._callers = Callers(self.device.callers, "inference", preparers=cores.decoding)
            network = Network(
                package,
                self._callers,
                deadline_s=self._deadline_s,
                waiting_limit=self._waiting_limit,
                wake=self._wake,
            )
            self._bring_in(network, opened)
            with self._lock:
                self._networks[key] = network
        return network

    def unload(self, network: Network) -> Future[None]:
        """Forget a network; it leaves memory when the last request that needs it is answered.

        Returns:
            What is done once it has left.
        """
        gone: Future[None] = Future()
        self._retire(network, gone)
        return gone

    def serve(self, name: str, package: ModelPackage) -> Served:
        """Load a package and let it answer to `name`, whose version `replace` can change.

        Raises:
            What `load` raises.
        """
        served = Served(name, self.load(package))
        self._served[name] = served
        return served

    def withdraw(self, name: str) -> Future[None]:
        """Let nothing answer to `name` any more.

        Requests that have begun are answered. The network leaves memory after the last of them,
        unless it answers to another name.

        Returns:
            What is done once it has left, or at once where it stays.

        Raises:
            KeyError: nothing is served under `name`.
        """
        served = self._served.pop(name)
        return self.unload(served.network)

    async def replace(
        self, name: str, package: ModelPackage, *, drain_s: float | None = 30.0
    ) -> Network:
        """Let another version answer to `name`, without a request being refused or lost.

        It is loaded, verified and warmed up in another thread while the old one serves; then new
        requests go to it. The old one finishes what it has and leaves memory.

        Args:
            name: what `serve` was given.
            package: the new version.
            drain_s: how long to wait until the old version is gone; None for not at all.

        Raises:
            KeyError: nothing is served under `name`.
            What `load` raises; the old version goes on serving then.
        """
        served = self._served[name]
        switching = asyncio.wrap_future(self._in_loader(self._switch, served, package))
        await asyncio.wait((switching,))
        if switching.cancelled():
            raise EngineStopped("This engine is closed.")
        old, new = switching.result()
        if old is new:
            return new
        gone: Future[None] = Future()
        self._retire(old, gone)
        if drain_s is not None:
            await asyncio.wait((asyncio.wrap_future(gone),), timeout=drain_s)
        return new

    def close(self, timeout_s: float = 10.0) -> None:
        """Refuse what waits, let what runs finish, and end the threads."""
        self._closed = True
        if self._callers is not None:
            self._callers.close(timeout_s)
        with self._lock:
            loader, self._loader = self._loader, None
        if loader is not None:
            loader.shutdown(cancel_futures=True)
        self._residents.leave_all()
        self._networks.clear()
        self._served.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _switch(self, served: Served, package: ModelPackage) -> tuple[Network, Network]:
        new = self.load(package)
        old = served.switch_to(new)
        if old is not new:
            log.info("network_replaced", served=served.name, old=old.name, model=new.name)
        return old, new

    def _retire(self, network: Network, gone: Future[None]) -> None:
        """Forget a network that answers to no name, and let it leave when it is idle."""
        if any(served.network is network for served in self._served.values()):
            gone.set_result(None)
            return
        with self._lock:
            self._networks = {
                key: kept for key, kept in self._networks.items() if kept is not network
            }

        def let_leave() -> None:
            # Elsewhere, because whoever ends the last run has better things to do.
            with contextlib.suppress(EngineStopped):
                self._in_loader(leave)

        # The queue tells when it is idle, and must not keep its own network alive by that.
        known, name = weakref.ref(network), network.name

        def leave() -> None:
            leaving = known()
            if (leaving is None or self._residents.leave(leaving)) and not gone.done():
                log.info("network_drained", model=name)
                gone.set_result(None)

        network.lane.on_idle = let_leave
        let_leave()

    def _wake(self, network: Network) -> Future[None]:
        """Bring a network back that has left memory; once, however many ask."""
        with self._lock:
            opening = self._opening.get(network)
        if opening is not None:
            return opening
        opening = self._in_loader(self._bring_back, network)
        with self._lock:
            if not opening.done():
                self._opening[network] = opening
        return opening

    def _bring_back(self, network: Network) -> None:
        try:
            with self._residents.loading:
                if not network.is_resident:
                    self._bring_in(network, self._open(network.package, network.plan))
        finally:
            with self._lock:
                self._opening.pop(network, None)

    def _in_loader(
        self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Future[T]:
        """Do `work` in the thread that loads networks, after what it does already."""
        with self._lock:
            if self._closed:
                raise EngineStopped("This engine is closed.")
            if self._loader is None:
                self._loader = ThreadPoolExecutor(1, "inference-loader")
            return self._loader.submit(work, *arguments, **keywords)

    def _bring_in(self, network: Network, opened: "_Opened") -> None:
        network.open(opened.session, opened.plan)
        self._residents.enter(network, network.package.network_bytes, opened.grown_bytes)
        log.info(
            "network_loaded",
            model=network.name,
            evidence=str(network.manifest.evidence),
            device=str(self.device),
            callers=self.device.callers,
            batch=opened.plan.capacity,
            megabytes=network.resident_bytes >> 20,
            seconds=round(opened.took_s, 3),
        )

    def _open(self, package: ModelPackage, plan: BatchPlan | None) -> "_Opened":
        """Create the session of a package, let it prove itself, and plan its batches."""
        began_at = time.perf_counter()
        self._residents.make_room(package.name, package.network_bytes)
        before = self._measure_memory()
        manifest = package.manifest
        session = self._create(package.read_network(), manifest)
        check_vectors(
            package.folder,
            manifest,
            package.preprocess,
            lambda batch: session.run({manifest.input.name: batch}),
        )
        if plan is None or self.device.kind != "cpu":
            plan = plan_batches(
                package,
                session,
                on_gpu=self.device.kind != "cpu",
                new_buffer=(
                    partial(pinned_buffer, ordinal=self.device.ordinal)
                    if self.device.kind == "cuda"
                    else None
                ),
            )
        grown_bytes = self._measure_memory() - before
        return _Opened(session, plan, grown_bytes, time.perf_counter() - began_at)

    def _create(self, network: bytes, manifest: Manifest) -> Runnable:
        """Create the session; `auto` falls back to the processor when the GPU does not load."""
        try:
            return self._open_session(network, suited_to(manifest, self.device))
        except NetworkFailed as error:
            if self.device.kind == "cpu" or not self._may_fall_back or self._callers is not None:
                raise
            why = str(error)
        self.device = on_cpu(self._threads, why)
        log.warning("device_fell_back", device=str(self.device), why=why)
        return self._open_session(network, self.device)


class _Opened(NamedTuple):
    """A session that has proved itself."""

    session: Runnable
    plan: BatchPlan
    grown_bytes: int
    took_s: float
