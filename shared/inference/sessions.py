"""Which kind of session a network gets on a device."""

from collections.abc import Callable
from dataclasses import replace

from shared.inference.devices import Device
from shared.inference.manifest import Manifest
from shared.inference.runtime import (
    CUDA_PROVIDER,
    BoundSession,
    NetworkFailed,
    RecordedSession,
    Runnable,
    Session,
)

OpenSession = Callable[[bytes, Device], Runnable]
"""Creates the session of a network on a device; raises `NetworkFailed`."""


def create_session(network: bytes, device: Device) -> Runnable:
    """ONNX Runtime's session of a network on a device.

    Raises:
        NetworkFailed: ONNX Runtime refuses the network, or loads no CUDA for a GPU.
    """
    if device.kind == "cpu":
        return Session(network, device.providers, device.threads_per_run)
    opened = RecordedSession if device.replays else BoundSession
    session = opened(network, device.providers, device.threads_per_run, device.kind, device.ordinal)
    if session.provider != CUDA_PROVIDER:
        raise NetworkFailed("ONNX Runtime could not load its CUDA libraries")
    return session


def suited_to(manifest: Manifest, device: Device) -> Device:
    """The device in the way that a package was found to be fastest on it."""
    variant = manifest.variant
    replays = variant is not None and variant.replays and device.kind == "cuda"
    return replace(device, replays=True) if replays else device
