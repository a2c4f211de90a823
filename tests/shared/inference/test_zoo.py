"""Published networks: what the zoo says, how weights are converted, and what pulling proves."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from shared.inference import PackageRefused, compile_preprocess, load_package
from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.published import with_logits, with_standard_operators
from shared.inference.download import Downloader, DownloadRefused
from shared.inference.graph import inspect_graph
from shared.inference.install import AlreadyInstalled
from shared.inference.pictures import PICTURES, SIDE_PX
from shared.inference.refusal import Reason
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.inference.zoo import NotInZoo, ZooEntry, get_entry, load_zoo, pull_package
from tests.shared.inference.packages import PackageBuilder, mean_network

MIRROR = os.environ.get("VEDETTE_MODEL_MIRROR")
NETWORK = mean_network().SerializeToString()


def mean_entry(**changes: object) -> ZooEntry:
    """An entry for the network that answers the mean brightness and its opposite."""
    members = PackageBuilder(Path()).manifest(NETWORK)
    for absent in ("id", "source", "file", "sha256"):
        del members[absent]
    entry = {
        "weights": {
            "address": "https://weights.example/mean.onnx",
            "sha256": hashlib.sha256(NETWORK).hexdigest(),
            "bytes": len(NETWORK),
        },
        "conversion": "none",
        "manifest": members | {"test_vectors": [{"picture": "rings", "tolerance": 1e-4}]},
    }
    described = ZooEntry.model_validate(entry | changes)
    if described.conversion == "none":
        vector = described.manifest["test_vectors"][0]
        mean = float(np.mean(PICTURES["rings"]() @ [0.299, 0.587, 0.114]) / 255)
        vector["output"] = [1 / (1 + np.exp(-mean)), 1 / (1 + np.exp(mean))]
        vector["tolerance"] = 0.01
    return described


def mirrored(tmp_path: Path, held: bytes = NETWORK) -> Downloader:
    """A downloader whose mirror is a folder that holds the mean network's file."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / hashlib.sha256(NETWORK).hexdigest()).write_bytes(held)
    return Downloader(tmp_path / "downloads", str(tmp_path / "mirror"))


def verify_here(folder: Path) -> float:
    """In this process: quicker than in one of its own."""
    return load_package(folder).worst_deviation


@pytest.mark.parametrize("name", load_zoo())
def test_every_entry_is_pinned_and_makes_a_manifest(name: str) -> None:
    """A commit in the address, a licence, a limit, and vectors that are stated."""
    entry = load_zoo()[name]
    manifest = entry.described(name)

    host, _, path = entry.weights.address.removeprefix("https://").partition("/")
    assert host == "raw.githubusercontent.com"
    assert len(path.split("/")[2]) == 40
    assert manifest.evidence == "research"
    assert entry.weights.address in manifest.source
    assert {vector["picture"] for vector in entry.manifest["test_vectors"]} <= set(PICTURES)
    assert compile_preprocess(manifest.input)(PICTURES["face"]()).shape[1:] == manifest.input.size


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotInZoo, match="--available"):
        get_entry("resnet")


@pytest.mark.parametrize(
    "weights",
    [
        {"address": "http://weights.example/x", "sha256": "0" * 64, "bytes": 1},
        {"address": "https://user@weights.example/x", "sha256": "0" * 64, "bytes": 1},
        {"address": "https://weights.example/x", "sha256": "0" * 64, "bytes": 0},
        {"address": "https://weights.example/x", "sha256": "short", "bytes": 1},
    ],
)
def test_an_entry_that_pins_nothing_is_refused(weights: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        mean_entry(weights=weights)


def test_a_conversion_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(ValidationError, match="no conversion"):
        mean_entry(conversion="by-magic")


def test_a_pulled_network_is_proven_and_installed(tmp_path: Path) -> None:
    told: list[int] = []
    installed = pull_package(
        "mean",
        mean_entry(),
        tmp_path / "home",
        mirrored(tmp_path),
        progress=told.append,
        verify=verify_here,
    )

    package = load_package(installed.folder)
    assert package.name == "mean@1.0"
    assert package.read_network() == NETWORK
    assert "weights.example" in package.manifest.source
    assert told[-1] == len(NETWORK)
    assert list((tmp_path / "downloads").glob("*")) == []


def test_a_second_pull_fetches_nothing(tmp_path: Path) -> None:
    downloads = mirrored(tmp_path)
    pull_package("mean", mean_entry(), tmp_path / "home", downloads, verify=verify_here)
    told: list[int] = []

    with pytest.raises(AlreadyInstalled):
        pull_package("mean", mean_entry(), tmp_path / "home", downloads, progress=told.append)

    assert told == []


def test_a_network_that_answers_otherwise_is_not_installed(tmp_path: Path) -> None:
    """Its bytes may be right and still not do here what they did where they were measured."""
    entry = mean_entry()
    entry.manifest["test_vectors"][0]["output"] = [0.1, 0.9]

    with pytest.raises(PackageRefused) as refused:
        pull_package("mean", entry, tmp_path / "home", mirrored(tmp_path), verify=verify_here)

    assert refused.value.reason is Reason.TEST_VECTOR_FAILED
    assert not (tmp_path / "home" / "models" / "mean").exists()


def test_other_bytes_are_not_converted(tmp_path: Path) -> None:
    with pytest.raises(DownloadRefused):
        pull_package("mean", mean_entry(), tmp_path / "home", mirrored(tmp_path, NETWORK[:-1]))

    assert not (tmp_path / "home").exists()


def fused(activation: str, *bounds: float, operator: str = "FusedConv") -> onnx.ModelProto:
    """One convolution by 1 with an activation in it, as ONNX Runtime's optimiser writes them."""
    node = helper.make_node(
        operator,
        ["image", "kernel"],
        ["out"],
        domain="com.microsoft",
        activation=activation,
        activation_params=list(bounds) or None,
        kernel_shape=[1, 1],
    )
    kernel = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "kernel")
    shape: tuple[str | int | None, ...] = ("N", 1, 2, 2)
    graph = helper.make_graph(
        [node],
        "fused",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [1, 1, 1, 1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [kernel],
    )
    domains = [helper.make_opsetid("", 11), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=6)


def written(tmp_path: Path, model: onnx.ModelProto) -> Path:
    """`model` as a file."""
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(
    ("activation", "bounds", "expected"),
    [("Relu", (), [0, 0, 0.5, 3]), ("Clip", (0.0, 1.0), [0, 0, 0.5, 1])],
)
def test_a_fused_convolution_becomes_standard_operators(
    tmp_path: Path, activation: str, bounds: tuple[float, ...], expected: list[float]
) -> None:
    network = with_standard_operators(written(tmp_path, fused(activation, *bounds)))

    facts = inspect_graph(network)
    answer = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1).run(
        {"image": np.array([[[[-2, 0], [0.5, 3]]]], np.float32)}
    )["out"]
    assert list(facts.inputs) == ["image"]
    np.testing.assert_allclose(answer.reshape(-1), expected)


@pytest.mark.parametrize(
    "model",
    [fused("HardSigmoid", 0.2, 0.5), fused("Relu", operator="FusedGemm")],
    ids=["activation", "operator"],
)
def test_an_operator_without_a_standard_form_is_refused(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    with pytest.raises(CheckpointRefused):
        with_standard_operators(written(tmp_path, model))


def overflowing() -> onnx.ModelProto:
    """Two logits, the picture's pixels, through a softmax that subtracts no maximum."""
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["image"], ["scores"]),
            helper.make_node("Exp", ["scores"], ["powers"]),
            helper.make_node("ReduceSum", ["powers"], ["sum"], axes=[1]),
            helper.make_node("Div", ["powers", "sum"], ["out"]),
        ],
        "overflowing",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 1, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 1, 1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


def test_logits_survive_where_the_published_softmax_did_not(tmp_path: Path) -> None:
    network = with_logits(written(tmp_path, overflowing()))

    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    answer = session.run({"image": np.array([90, 100], np.float32).reshape(1, 2, 1, 1)})["logits"]
    np.testing.assert_array_equal(answer, [[90, 100]])


def test_a_network_with_another_end_keeps_its_end(tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused, match="softmax"):
        with_logits(written(tmp_path, mean_network()))


@pytest.mark.parametrize("convert", [with_logits, with_standard_operators])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, convert: object) -> None:
    assert callable(convert)
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 100)

    with pytest.raises(CheckpointRefused, match="ONNX"):
        convert(tmp_path / "net.onnx")


@pytest.mark.parametrize("name", PICTURES)
def test_drawn_pictures_never_change(name: str) -> None:
    """The zoo's figures hold for these pixels and no others."""
    expected = {
        "face": "509ae89819a3f26bbf37863515275b2eef1016e663e6ac2242fddcd162774586",
        "rings": "11748d7a5ced77be383024a3803d65fcb626cf66596ffaca970cd90083ca2fa9",
    }
    pixels = PICTURES[name]()

    assert pixels.shape == (SIDE_PX, SIDE_PX, 3)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == expected[name]


@pytest.mark.weights
@pytest.mark.skipif(MIRROR is None, reason="VEDETTE_MODEL_MIRROR names no mirror of the weights")
@pytest.mark.parametrize("name", load_zoo())
def test_every_published_network_installs(tmp_path: Path, name: str) -> None:
    """From the file as it was published to a package whose answers are the file's own."""
    entry = load_zoo()[name]
    if entry.needs_torch:
        pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")

    installed = pull_package(
        name, entry, tmp_path / "home", Downloader(tmp_path, MIRROR), verify=verify_here
    )

    assert load_package(installed.folder).name == f"{name}@{entry.described(name).version}"
