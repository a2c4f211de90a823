"""Makes variants of a network, and keeps those that answer alike and faster.

In 16 or 8 bits; and on a GPU with its runs recorded and replayed, as it is or in 16 bits.

A variant is a package of its own, `id@version+int8`, so that every answer names what has run. It
carries the test vectors of the network it was made from, with the tolerance that was allowed;
they are checked at every load.
"""

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from shared.imaging import decode
from shared.inference.answers import activated
from shared.inference.conversion.phantoms import SIZES_PX, phantom
from shared.inference.devices import Device
from shared.inference.evidence import Evidence
from shared.inference.graph import inspect_graph
from shared.inference.manifest import MANIFEST_NAME, VariantKind, dump_manifest, to_manifest
from shared.inference.package import ModelPackage
from shared.inference.pictures import PICTURES
from shared.inference.refusal import PackageRefused
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed
from shared.inference.sessions import create_session
from shared.inference.speed import Layout, layouts, measure
from shared.inference.vectors import read_vector
from shared.problems import Problem

_ANYWHERE: tuple[VariantKind, ...] = ("fp16", "int8")
_ON_GPU: tuple[VariantKind, ...] = ("graphs", "fp16-graphs")

#: How far an answer may be from the original's: of a probability, two hundredths.
TOLERANCE = 0.02
#: Less than this much faster may be the machine's mood.
LEAST_SPEEDUP = 1.1
MAX_PICTURES = 256
_PER_CHANNEL_OPSET = 13
_TARGET_OPSET = 17
_RECTIFIERS = frozenset(
    {"Clip", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu"}
)
_HOLD_OUT = 4
_ROUNDS = 3
_STANDARD = frozenset({"", "ai.onnx"})


_Way = tuple[bytes, Device]
"""A network, and how it is run."""


class NotMade(Exception):
    """A network has no variant of this kind."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one kind of variant.

    Attributes:
        kind: which.
        network: its bytes; None if it could not be made.
        deviation: the largest difference of an answer.
        speedup: how many times as many pictures per second.
        refused: why it is not kept; None if it is.
    """

    kind: VariantKind
    network: bytes | None
    deviation: float
    speedup: float
    refused: str | None


def read_pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """The pictures of a folder that can be decoded, in order of their names, at most 256."""
    found: list[NDArray[np.uint8]] = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and len(found) < MAX_PICTURES:
            try:
                found.append(decode(path.read_bytes()).pixels)
            except Problem:
                continue  # A table of labels, a licence: not every file is a picture.
    return found


def kinds_for(device: Device) -> tuple[VariantKind, ...]:
    """The kinds of variants that are worth trying on a device."""
    return _ANYWHERE if device.kind == "cpu" else (*_ANYWHERE, *_ON_GPU)


def try_variant(
    kind: VariantKind,
    package: ModelPackage,
    device: Device,
    pictures: Sequence[NDArray[np.uint8]] = (),
    *,
    tolerance: float = TOLERANCE,
    seconds: float = 1.0,
    least_speedup: float = LEAST_SPEEDUP,
) -> Trial:
    """Make one variant, compare its answers and its speed with the original's on this machine.

    Args:
        kind: one of `kinds_for` the device.
        package: the original.
        device: where it runs.
        pictures: like those that it will see; int8 is fitted to three quarters of them and
            compared on the rest. Without any, drawn ones and the test vectors stand in.
        tolerance: how far an answer may be from the original's.
        seconds: how long each of three measurements of each of both takes.
        least_speedup: how many times as fast it must be to be kept.
    """
    original = package.read_network()
    fitted = [picture for number, picture in enumerate(pictures) if number % _HOLD_OUT]
    held_out = [picture for number, picture in enumerate(pictures) if not number % _HOLD_OUT]
    try:
        if kind == "int8":
            network = _as_int8(original, package, fitted or _drawn())
        else:
            network = as_fp16(original) if kind.startswith("fp16") else original
        inspect_graph(network)
        ways = ((original, device), (network, replace(device, replays=kind.endswith("graphs"))))
        deviation = _deviation(package, ways, held_out)
    except (NotMade, NetworkFailed, PackageRefused) as error:
        return Trial(kind, None, 0.0, 0.0, str(error))
    if not deviation <= tolerance:
        why = f"its answers deviate by {deviation:.3g}, allowed are {tolerance:g}"
        return Trial(kind, network, deviation, 0.0, why)
    speedup = _speedup(package, ways, seconds)
    if speedup < least_speedup:
        why = f"it is {speedup:.2f} times as fast here, {least_speedup:g} are needed"
        return Trial(kind, network, deviation, speedup, why)
    return Trial(kind, network, deviation, speedup, None)


def package_variant(
    trial: Trial, package: ModelPackage, folder: Path, tolerance: float, measured_on: str
) -> None:
    """Write the package of a variant that is kept into the empty `folder`."""
    network = trial.network
    if network is None or trial.refused is not None:
        raise ValueError(f"the {trial.kind} variant is not kept: {trial.refused}")
    manifest = package.manifest
    members = manifest.model_dump(mode="json", exclude_none=True)
    members["version"] = f"{manifest.version}+{trial.kind}"
    members["file"] = "model.onnx"
    members["sha256"] = hashlib.sha256(network).hexdigest()
    members["variant"] = {
        "kind": trial.kind,
        "of": manifest.sha256,
        "deviation": float(f"{trial.deviation:.3g}"),
        "tolerance": tolerance,
        "speedup": round(trial.speedup, 2),
        "measured_on": measured_on,
    }
    for vector in members["test_vectors"]:
        vector["tolerance"] = max(vector["tolerance"], tolerance)
    if manifest.evidence is Evidence.VALIDATED:
        # The figures are those of the original; nobody has measured this one.
        members["evidence"] = str(Evidence.RESEARCH)
    members["card"]["limits"] += (
        f" This is the {trial.kind} variant of {manifest.name}, whose figures these are;"
        f" its answers were up to {trial.deviation:.3g} away."
    )
    (folder / "model.onnx").write_bytes(network)
    for vector in manifest.test_vectors:
        target = folder / vector.input
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package.folder / vector.input, target)
    (folder / MANIFEST_NAME).write_text(dump_manifest(to_manifest(members)), encoding="utf-8")


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands prepared pictures to the calibration, one by one."""

    def __init__(self, package: ModelPackage, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self._feeds = self._prepared(package, pictures)

    @staticmethod
    def _prepared(
        package: ModelPackage, pictures: Sequence[NDArray[np.uint8]]
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        name = package.manifest.input.name
        for vector in package.manifest.test_vectors:
            yield {name: read_vector(package.folder, vector, package.preprocess)}
        for picture in pictures:
            yield {name: package.preprocess(picture)[None]}

    def get_next(self) -> Mapping[str, NDArray[np.float32]] | None:
        """The next picture, None after the last; the name is onnxruntime's."""
        return next(self._feeds, None)


def as_fp16(original: bytes) -> bytes:
    """The network in 16 bits, its inputs and outputs in 32.

    Raises:
        NotMade: the converter cannot.
    """
    model = onnx.load_from_string(original)
    try:
        with warnings.catch_warnings(action="ignore"):  # of weights too small for 16 bits
            converted = convert_float_to_float16(model, keep_io_types=True)
    except Exception as error:  # whatever its graph surgery stumbles over
        raise NotMade(f"it cannot be made: {_first(error)}") from error
    _in_order(converted)
    return _plain(converted)


def _as_int8(
    original: bytes, package: ModelPackage, pictures: Sequence[NDArray[np.uint8]]
) -> bytes:
    """Weights and activations in 8 bits, with ranges from pictures (static, QDQ).

    Source:
        ONNX Runtime's documentation, "Quantize ONNX models", on saturation with AVX2.
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source.onnx", Path(scratch) / "int8.onnx"
        try:
            # Normalisations become part of the convolutions before them: together they have one
            # range, apart they would be rounded twice.
            model = _folded(original, Path(scratch) / "folded.onnx")
            if model.opset_import[0].version < _PER_CHANNEL_OPSET:
                model = onnx.version_converter.convert_version(model, _TARGET_OPSET)
            model = onnx.shape_inference.infer_shapes(model)
            exact = _exact(model)
            # Tells the quantiser that what it would ask for in the log has been done.
            for done in ("onnx.infer", "onnx.quant.pre_process"):
                model.metadata_props.add(key=done, value="onnxruntime.quant")
            onnx.save(model, source)
            quantize_static(
                source,
                target,
                _Reader(package, pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Seven bits of the eight: a processor without VNNI adds two products in 16 bits,
                # which then cannot saturate, and a package may go to such a processor.
                reduce_range=True,
                nodes_to_exclude=exact,
            )
        except Exception as error:  # whatever its graph surgery stumbles over
            raise NotMade(f"it cannot be made: {_first(error)}") from error
        return _plain(onnx.load(target))


def _folded(network: bytes, scratch: Path) -> onnx.ModelProto:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(scratch)
    ort.InferenceSession(network, options, providers=[CPU_PROVIDER])
    return onnx.load_from_string(_plain(onnx.load(scratch)))


def _exact(model: onnx.ModelProto) -> list[str]:
    """The nodes that stay as they are: they cost little, and rounding them would cost much.

    Those after the last rectifiers make the answer; normalisations have ranges of their own per
    channel. Nodes without a name get one.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before: set[str] = set()
    for node in reversed(model.graph.node):
        following = [reader for name in node.output for reader in readers.get(name, [])]
        if any(reader.op_type in _RECTIFIERS or reader.name in before for reader in following):
            before.add(node.name)
    return [
        node.name
        for node in model.graph.node
        if node.name not in before or node.op_type == "BatchNormalization"
    ]


def _in_order(model: onnx.ModelProto) -> None:
    """Put the nodes into the order of computation, which the converter does not keep."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    left, ordered = list(graph.node), []
    while left:
        ready = [node for node in left if not made.intersection(node.input)]
        if not ready:
            raise NotMade("its nodes have no order")
        ordered += ready
        for node in ready:
            made.difference_update(node.output)
        left = [node for node in left if made.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)


def _plain(model: onnx.ModelProto) -> bytes:
    """Operator sets that no node uses, and notes of the tools, are gone."""
    used = [entry for entry in model.opset_import if entry.domain in _STANDARD]
    del model.opset_import[:]
    model.opset_import.extend(used)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def _drawn() -> list[NDArray[np.uint8]]:
    return [phantom(number) for number in range(len(SIZES_PX))] + [
        draw() for draw in PICTURES.values()
    ]


def _deviation(
    package: ModelPackage, ways: Sequence[_Way], held_out: Sequence[NDArray[np.uint8]]
) -> float:
    """The largest difference of an answer, over the test vectors and pictures not fitted to."""
    manifest = package.manifest
    sessions = [create_session(*way) for way in ways]
    batches = [
        read_vector(package.folder, vector, package.preprocess) for vector in manifest.test_vectors
    ]
    batches += [package.preprocess(picture)[None] for picture in held_out]
    worst = 0.0
    for batch in batches:
        was, is_now = (
            _answers(package, session.run({manifest.input.name: batch})) for session in sessions
        )
        for name, answer in was.items():
            # What is not a number stays so, and is refused.
            worst = float(np.maximum(worst, np.abs(is_now[name] - answer).max()))
    return worst


def _answers(
    package: ModelPackage, outputs: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    spec = package.manifest.output
    found = {raw.name: outputs[raw.name] for raw in package.manifest.raw_outputs}
    found[spec.name] = activated(spec, outputs[spec.name])
    return found


def _speedup(package: ModelPackage, ways: Sequence[_Way], seconds: float) -> float:
    """In the layouts that the engine serves in; the best of several rounds, taken in turns.

    A GPU runs whatever has arrived, so a picture alone and a full batch count alike there: it is
    the geometric mean of the two.
    """
    device = ways[0][1]
    found = layouts(package, device, device.callers)
    tried = (
        [found[0], found[-1]]
        if device.kind != "cpu" and len(found) > 1
        else [Layout(device.callers, device.threads_per_run)]
    )
    product = 1.0
    for layout in tried:
        best = [0.0, 0.0]
        for _ in range(_ROUNDS):
            for number, (network, on) in enumerate(ways):
                speed = measure(network, package, on, layout, seconds)
                best[number] = max(best[number], speed.pictures_s)
        product *= best[1] / best[0]
    return float(product ** (1 / len(tried)))


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
