"""Loads a model package, or says why not.

A package is a folder with `model.yaml`, the network and test vectors. Nothing of it is trusted:
hash, size, graph, operators and shapes are checked first, then the test vectors run through the
real preprocessing and the network.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from shared.inference.files import read_member
from shared.inference.graph import GraphFacts, inspect_graph
from shared.inference.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestInvalid,
    parse_manifest,
)
from shared.inference.preprocess import Preprocess, compile_preprocess
from shared.inference.refusal import PackageRefused, Reason
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from shared.inference.vectors import check_vectors

__all__ = ["ModelPackage", "PackageRefused", "Reason", "load_package", "read_manifest"]

MAX_NETWORK_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A verified package; the network itself stays on disk until it is loaded."""

    folder: Path
    manifest: Manifest
    graph: GraphFacts
    preprocess: Preprocess = field(repr=False)
    network_bytes: int
    worst_deviation: float
    """The largest deviation that the test vectors showed, on the CPU."""

    @property
    def name(self) -> str:
        """`id@version`."""
        return self.manifest.name

    def read_network(self) -> bytes:
        """The bytes of the network, hashed again: what runs is what was verified.

        Raises:
            PackageRefused: the file is gone or has changed.
        """
        return _read_network(self.folder, self.manifest, MAX_NETWORK_BYTES)


def read_manifest(folder: Path) -> Manifest:
    """Read the `model.yaml` of a package and nothing else.

    Raises:
        PackageRefused: it is missing or not a manifest.
    """
    text = read_member(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES, Reason.MISSING_MANIFEST)
    try:
        return parse_manifest(text)
    except ManifestInvalid as error:
        reason = Reason.NO_TEST_VECTORS if error.lacks_vectors else Reason.BAD_MANIFEST
        raise PackageRefused(reason, f"{MANIFEST_NAME}: {error}") from error


def load_package(folder: Path, *, max_network_bytes: int = MAX_NETWORK_BYTES) -> ModelPackage:
    """Verify the package in `folder`, test vectors included.

    Raises:
        PackageRefused: with the reason.
    """
    manifest = read_manifest(folder)
    network = _read_network(folder, manifest, max_network_bytes)
    graph = inspect_graph(network)
    check_interface(manifest, graph)
    preprocess = compile_preprocess(manifest.input)
    try:
        session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    except NetworkFailed as error:
        raise PackageRefused(Reason.BAD_GRAPH, str(error)) from error
    worst = check_vectors(
        folder, manifest, preprocess, lambda batch: session.run({manifest.input.name: batch})
    )
    return ModelPackage(folder, manifest, graph, preprocess, len(network), worst)


def _read_network(folder: Path, manifest: Manifest, max_bytes: int) -> bytes:
    network = read_member(folder, manifest.file, max_bytes, Reason.MISSING_NETWORK)
    found = hashlib.sha256(network).hexdigest()
    if found != manifest.sha256:
        raise PackageRefused(
            Reason.WRONG_SHA256,
            f"{manifest.file} has the sha256 {found}, the manifest says {manifest.sha256}",
        )
    return network


def check_interface(manifest: Manifest, graph: GraphFacts) -> None:
    """Compare what the manifest declares with what the graph has."""
    if set(graph.inputs) != {manifest.input.name}:
        raise PackageRefused(
            Reason.SHAPE_MISMATCH,
            f"the network's float inputs are {sorted(graph.inputs)}, "
            f"the manifest names {manifest.input.name!r}",
        )
    height_px, width_px = manifest.input.size
    _match(
        "input",
        manifest.input.name,
        graph.inputs[manifest.input.name],
        (1, manifest.input.channels, height_px, width_px),
    )
    labels = len(manifest.labels)
    output = _output(graph, manifest.output.name)
    if manifest.task in ("image-classification", "multi-label", "regression"):
        one_logit = (
            labels == 2
            and manifest.task == "image-classification"
            and manifest.output.activation == "sigmoid"
        )
        columns = output[-1] if len(output) == 2 else None
        if len(output) != 2 or (columns not in (None, labels) and not (one_logit and columns == 1)):
            raise PackageRefused(
                Reason.SHAPE_MISMATCH,
                f"output {manifest.output.name!r} has the shape {_text(output)}, "
                f"{labels} labels need (N, {labels})",
            )
    for raw in manifest.raw_outputs:
        _match("output", raw.name, _output(graph, raw.name), raw.shape)
    if manifest.explain is None:
        return
    features = _output(graph, manifest.explain.features)
    if len(features) != 4:
        raise PackageRefused(
            Reason.SHAPE_MISMATCH,
            f"features {manifest.explain.features!r} have the shape {_text(features)}",
        )
    if manifest.explain.maps is not None:
        maps = _output(graph, manifest.explain.maps)
        if len(maps) != 4 or maps[1] not in (None, 1, labels):
            raise PackageRefused(
                Reason.SHAPE_MISMATCH,
                f"maps {manifest.explain.maps!r} have the shape {_text(maps)}, "
                f"{labels} labels need (N, {labels}, h, w)",
            )


def _match(what: str, name: str, shape: tuple[int | None, ...], needed: tuple[int, ...]) -> None:
    agrees = len(shape) == len(needed) and all(
        axis is None or axis == side for axis, side in zip(shape, needed, strict=True)
    )
    if not agrees:
        raise PackageRefused(
            Reason.SHAPE_MISMATCH,
            f"{what} {name!r} has the shape {_text(shape)}, the manifest needs {_text(needed)}",
        )


def _output(graph: GraphFacts, name: str) -> tuple[int | None, ...]:
    if name not in graph.outputs:
        raise PackageRefused(
            Reason.SHAPE_MISMATCH,
            f"the network has no float output {name!r}; it has {sorted(graph.outputs)}",
        )
    return graph.outputs[name]


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if axis is None else str(axis) for axis in shape) + ")"
