"""Variants and measuring: kept only when they answer alike and faster, and honest about it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shared.inference import ModelPackage, compile_preprocess, load_package
from shared.inference.answers import sigmoid
from shared.inference.devices import Device
from shared.inference.install import install_package
from shared.inference.manifest import InputSpec, VariantKind
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.inference.sessions import suited_to
from shared.inference.speed import Layout, layouts, measure, measure_preparation
from shared.inference.store import resolve_package
from shared.inference.variants import kinds_for, package_variant, read_pictures, try_variant
from tests.shared.inference.packages import PackageBuilder, gray_ramp, mean_network, png

CPU = Device("cpu", 0, callers=2, threads_per_run=1, why="the test says so")
GPU = Device("cuda", 0, callers=1, threads_per_run=1, why="the test says so")
INPUT = InputSpec(name="image", colour="GRAY", size=(8, 8), scale=1 / 255, mean=(0.0,), std=(1.0,))


def convolving(gain: float = 1.0) -> onnx.ModelProto:
    """Four filters, a rectifier, four more, a mean, and two logits of it times `gain`."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(4, 1, 3, 3)),
        "second": random.normal(size=(4, 4, 3, 3)) / 4,
        "head": random.normal(size=(4, 2)) * gain,
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["e"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["e", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolving",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(weight.astype(np.float32), name)
            for name, weight in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def answer(network: onnx.ModelProto, pixels: NDArray[np.uint8]) -> list[float]:
    """What `network` says to one picture."""
    session = Session(network.SerializeToString(), [(CPU_PROVIDER, {})], threads_per_run=1)
    logits = session.run({"image": compile_preprocess(INPUT)(pixels)[None]})["logits"][0]
    return [float(figure) for figure in sigmoid(logits)]


def convolving_package(folder: Path, gain: float = 1.0, **changes: object) -> ModelPackage:
    """A package of the convolving network."""
    network = convolving(gain)
    vector = {"input": "vectors/0.png", "output": answer(network, gray_ramp()), "tolerance": 1e-4}
    builder = PackageBuilder(folder, network, {"test_vectors": [vector], **changes})
    return load_package(builder.write())


@pytest.mark.parametrize("kind", ["fp16", "int8", "fp16-graphs"])
def test_a_variant_that_answers_alike_becomes_a_package_of_its_own(
    tmp_path: Path, kind: VariantKind
) -> None:
    """Its name says what has run; its vectors are the original's, with what was allowed."""
    original = convolving_package(tmp_path / "package")
    trial = try_variant(kind, original, CPU, tolerance=0.05, seconds=0.01, least_speedup=0)
    (tmp_path / "variant").mkdir()

    package_variant(trial, original, tmp_path / "variant", 0.05, "this machine")
    variant = load_package(tmp_path / "variant")

    assert trial.refused is None
    assert variant.name == f"mean-brightness@1.0+{kind}"
    assert variant.manifest.variant is not None
    assert variant.manifest.variant.of == original.manifest.sha256
    assert variant.manifest.test_vectors[0].output == original.manifest.test_vectors[0].output
    assert variant.worst_deviation <= 0.05
    assert f"the {kind} variant of mean-brightness@1.0" in variant.manifest.card.limits


def test_recorded_runs_are_a_variant_of_the_same_network(tmp_path: Path) -> None:
    """Only a GPU replays; elsewhere the package runs as any other."""
    original = convolving_package(tmp_path / "package")
    trial = try_variant("graphs", original, CPU, seconds=0.01, least_speedup=0)
    (tmp_path / "variant").mkdir()

    package_variant(trial, original, tmp_path / "variant", 0.02, "this machine")
    variant = load_package(tmp_path / "variant")

    assert trial.deviation == 0
    assert variant.name == "mean-brightness@1.0+graphs"
    assert variant.manifest.sha256 == original.manifest.sha256
    assert suited_to(variant.manifest, GPU).replays
    assert not suited_to(variant.manifest, CPU).replays
    assert not suited_to(original.manifest, GPU).replays


def test_a_gpu_has_more_kinds_to_try() -> None:
    assert kinds_for(CPU) == ("fp16", "int8")
    assert set(kinds_for(GPU)) == {"fp16", "int8", "graphs", "fp16-graphs"}


def test_an_installed_variant_is_what_its_id_means(tmp_path: Path) -> None:
    """And the original is still there by its version."""
    original = convolving_package(tmp_path / "package")
    trial = try_variant("fp16", original, CPU, seconds=0.01, least_speedup=0)
    (tmp_path / "variant").mkdir()
    package_variant(trial, original, tmp_path / "variant", 0.02, "this machine")
    for folder in (original.folder, tmp_path / "variant"):
        install_package(
            folder, tmp_path / "home", verify=lambda staged: load_package(staged).worst_deviation
        )
    shipped = PackageBuilder(tmp_path / "shipped").write()

    newest = resolve_package(tmp_path / "home", shipped, "mean-brightness")
    exact = resolve_package(tmp_path / "home", shipped, "mean-brightness@1.0")

    assert newest.name == "1.0+fp16"
    assert exact.name == "1.0"


def test_a_variant_of_a_validated_network_is_not_validated(tmp_path: Path) -> None:
    """Nobody has measured this one."""
    figure = {"dataset": "d", "split": "s", "n": 9, "metric": "auc", "value": 0.9}
    card = {"trained_on": "x", "measured": [figure], "intended_use": "x", "limits": "x"}
    original = convolving_package(tmp_path / "package", evidence="validated", card=card)
    trial = try_variant("fp16", original, CPU, seconds=0.01, least_speedup=0)
    (tmp_path / "variant").mkdir()

    package_variant(trial, original, tmp_path / "variant", 0.02, "this machine")

    assert load_package(tmp_path / "variant").manifest.evidence == "research"


def test_a_variant_that_answers_otherwise_is_not_kept(tmp_path: Path) -> None:
    """A head that magnifies shows the rounding of what is before it."""
    original = convolving_package(tmp_path / "package", gain=5.0)

    trial = try_variant("int8", original, CPU, seconds=0.01, least_speedup=0, tolerance=1e-6)

    assert trial.refused is not None
    assert "deviate" in trial.refused
    assert trial.deviation > 1e-6
    with pytest.raises(ValueError, match="not kept"):
        package_variant(trial, original, tmp_path, 0.02, "this machine")


def test_what_makes_the_answer_is_not_rounded(tmp_path: Path) -> None:
    """After the last rectifier nothing is in 8 bits, in graphs without names as well."""
    original = convolving_package(tmp_path / "package")

    trial = try_variant("int8", original, CPU, seconds=0.01, least_speedup=0)

    assert trial.network is not None
    stored = {
        tensor.name: tensor.data_type
        for tensor in onnx.load_from_string(trial.network).graph.initializer
    }
    assert stored["head"] == TensorProto.FLOAT
    assert stored["first_quantized"] == TensorProto.INT8


def test_an_answer_that_is_not_a_number_is_not_kept(tmp_path: Path) -> None:
    """Sixteen bits end at 65504; what is beyond is infinite, and its difference no number."""
    original = convolving_package(tmp_path / "package", gain=1e30)

    trial = try_variant("fp16", original, CPU, seconds=0.01, least_speedup=0)

    assert trial.refused is not None


def test_a_variant_that_is_no_faster_is_not_kept(tmp_path: Path) -> None:
    original = convolving_package(tmp_path / "package")

    trial = try_variant("fp16", original, CPU, seconds=0.01, least_speedup=1000)

    assert trial.refused is not None
    assert "times as fast" in trial.refused


def test_pictures_not_fitted_to_are_compared_too(tmp_path: Path) -> None:
    """Every fourth picture of the folder is held out; its deviation counts."""
    original = convolving_package(tmp_path / "package")
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(8):
        pixels = random.integers(0, 256, (8, 8), np.uint8)
        (folder / f"{number}.png").write_bytes(png(pixels))
    (folder / "labels.csv").write_text("file,label\n")

    pictures = read_pictures(folder)
    without = try_variant("int8", original, CPU, seconds=0.01, tolerance=0.1)
    with_them = try_variant("int8", original, CPU, pictures, seconds=0.01, tolerance=0.1)

    assert len(pictures) == 8
    assert with_them.deviation > 0
    assert with_them.deviation != without.deviation


def test_a_network_without_convolutions_is_measured_all_the_same(tmp_path: Path) -> None:
    original = load_package(PackageBuilder(tmp_path / "package", mean_network()).write())

    trial = try_variant("fp16", original, CPU, seconds=0.01, least_speedup=0)

    assert trial.refused is None


def test_layouts_grow_with_cores_and_a_free_batch(package: PackageBuilder) -> None:
    loaded = load_package(package.write())

    assert layouts(loaded, CPU, 1)[0] == Layout(1, 1)
    assert Layout(2, 1) in layouts(loaded, CPU, 2)
    assert Layout(2, 1, 32) in layouts(loaded, CPU, 2)


def test_a_fixed_batch_is_measured_alone(package: PackageBuilder) -> None:
    batch = package.network.graph.input[0].type.tensor_type.shape.dim[0]
    batch.dim_value = 1
    loaded = load_package(package.write())

    assert {layout.batch for layout in layouts(loaded, CPU, 2)} == {1}


def test_a_measurement_counts_pictures_not_runs(package: PackageBuilder) -> None:
    loaded = load_package(package.write())

    speed = measure(loaded.read_network(), loaded, CPU, Layout(2, 1, 4), seconds=0.05)
    preparation = measure_preparation(loaded, seconds=0.01)

    assert speed.pictures_s > 4 / (speed.p99_ms / 1e3) / 100
    assert 0 < speed.p50_ms <= speed.p99_ms
    assert preparation.total_ms > 0
