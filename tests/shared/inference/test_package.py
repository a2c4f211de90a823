"""A package loads only if all of it is right; each fault has its own word."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.inference import PackageRefused, load_package
from shared.inference.refusal import Reason
from tests.shared.inference.packages import PackageBuilder, gray_ramp, mean_network


def refusal(folder: Path) -> Reason:
    """The reason for which the package is refused."""
    with pytest.raises(PackageRefused) as refused:
        load_package(folder)
    return refused.value.reason


def test_a_right_package_loads_and_its_vectors_agree(package: PackageBuilder) -> None:
    loaded = load_package(package.write())

    assert loaded.name == "mean-brightness@1.0"
    assert loaded.worst_deviation < 1e-5
    assert loaded.graph.outputs["logits"] == (None, 2)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) is Reason.MISSING_MANIFEST


def test_a_package_without_test_vectors_is_refused(package: PackageBuilder) -> None:
    package.changes = {"test_vectors": []}

    assert refusal(package.write()) is Reason.NO_TEST_VECTORS


def test_an_unknown_member_is_refused(package: PackageBuilder) -> None:
    package.changes = {"handler": "handler.py"}

    assert refusal(package.write()) is Reason.BAD_MANIFEST


def test_a_missing_network_is_refused(package: PackageBuilder) -> None:
    folder = package.write()
    (folder / "model.onnx").unlink()

    assert refusal(folder) is Reason.MISSING_NETWORK


def test_a_network_of_another_hash_is_refused(package: PackageBuilder) -> None:
    folder = package.write()
    network = bytearray((folder / "model.onnx").read_bytes())
    network[-1] ^= 1
    (folder / "model.onnx").write_bytes(network)

    assert refusal(folder) is Reason.WRONG_SHA256


def test_a_network_beyond_the_size_limit_is_refused_unread(package: PackageBuilder) -> None:
    folder = package.write()

    with pytest.raises(PackageRefused) as refused:
        load_package(folder, max_network_bytes=100)

    assert refused.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("opset", [7, 99])
def test_an_opset_outside_the_range_is_refused(package: PackageBuilder, opset: int) -> None:
    package.network = mean_network(opset=opset)

    assert refusal(package.write()) is Reason.OPSET


def test_an_operator_set_of_somebody_else_is_refused(package: PackageBuilder) -> None:
    package.network = mean_network(imports=[("com.microsoft", 1)])

    assert refusal(package.write()) is Reason.CUSTOM_OPERATOR


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"output": {"name": "logits", "activation": "sigmoid", "labels": ["a", "b", "c"]},
          "operating_points": {}}, Reason.SHAPE_MISMATCH),
        ({"output": {"name": "other", "activation": "sigmoid", "labels": ["a", "b"]},
          "operating_points": {}}, Reason.SHAPE_MISMATCH),
        ({"explain": {"features": "absent"}}, Reason.SHAPE_MISMATCH),
        ({"explain": {"features": "logits"}}, Reason.SHAPE_MISMATCH),
    ],
)  # fmt: skip
def test_outputs_that_the_network_has_not_are_refused(
    package: PackageBuilder, changes: dict[str, Any], expected: Reason
) -> None:
    package.changes = changes

    assert refusal(package.write()) is expected


def test_an_input_of_another_size_is_refused(package: PackageBuilder) -> None:
    package.network = mean_network(side_px=16)

    assert refusal(package.write()) is Reason.SHAPE_MISMATCH


def test_a_vector_that_deviates_is_refused(package: PackageBuilder) -> None:
    """What a package promises and what it does must be the same."""
    package.changes = {
        "test_vectors": [{"input": "vectors/0.png", "output": [0.6, 0.4], "tolerance": 1e-3}]
    }

    assert refusal(package.write()) is Reason.TEST_VECTOR_FAILED


def test_a_vector_of_another_length_is_refused(package: PackageBuilder) -> None:
    package.changes = {
        "test_vectors": [{"input": "vectors/0.png", "output": [0.6], "tolerance": 1e-3}]
    }

    assert refusal(package.write()) is Reason.TEST_VECTOR_FAILED


def test_a_network_that_answers_nan_is_refused(package: PackageBuilder) -> None:
    """No comparison is true of a figure that is not a number, so none may let it pass."""
    weight = numpy_helper.from_array(np.full((1, 2), np.nan, np.float32), "weight")
    package.network.graph.initializer[0].CopyFrom(weight)

    assert refusal(package.write()) is Reason.TEST_VECTOR_FAILED


def test_a_vector_whose_picture_is_missing_is_refused(package: PackageBuilder) -> None:
    folder = package.write()
    (folder / "vectors" / "0.png").unlink()

    assert refusal(folder) is Reason.MISSING_VECTOR


def test_a_vector_that_is_no_picture_is_refused(package: PackageBuilder) -> None:
    folder = package.write()
    (folder / "vectors" / "0.png").write_bytes(b"not a picture")

    assert refusal(folder) is Reason.TEST_VECTOR_FAILED


def test_a_vector_whose_picture_was_exchanged_is_refused(package: PackageBuilder) -> None:
    vector = {"input": "vectors/0.png", "output": [0.5, 0.5], "tolerance": 0.1, "sha256": "0" * 64}
    package.changes = {"test_vectors": [vector]}

    assert refusal(package.write()) is Reason.WRONG_SHA256


def test_bytes_that_are_not_onnx_are_refused(package: PackageBuilder) -> None:
    contents = b"MZ no network"
    package.changes = {"sha256": hashlib.sha256(contents).hexdigest()}
    folder = package.write()
    (folder / "model.onnx").write_bytes(contents)

    assert refusal(folder) is Reason.BAD_GRAPH


def test_a_network_that_changes_after_verification_does_not_load(package: PackageBuilder) -> None:
    """Between verification and use lies time enough to exchange a file."""
    loaded = load_package(package.write())
    (loaded.folder / "model.onnx").write_bytes(b"something else")

    with pytest.raises(PackageRefused) as refused:
        loaded.read_network()

    assert refused.value.reason is Reason.WRONG_SHA256


def test_a_pipe_in_place_of_the_network_does_not_hang(package: PackageBuilder) -> None:
    folder = package.write()
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")

    assert refusal(folder) is Reason.UNSAFE_PATH


def test_one_logit_may_stand_for_two_labels(package: PackageBuilder) -> None:
    """[negative, positive] by one sigmoid: the usual binary network."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 1], [1.0])
    package.network.graph.initializer[0].CopyFrom(weight)
    package.network.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])
    )
    right = package.manifest(b"")["test_vectors"][0]
    package.changes = {
        "task": "image-classification",
        "test_vectors": [right | {"output": right["output"][:1]}],
    }

    assert load_package(package.write()).graph.outputs["logits"] == (None, 1)


def test_raw_outputs_are_matched_and_sampled(package: PackageBuilder) -> None:
    """A detector's outputs are too large to write down; evenly spaced figures stand for them."""
    right = package.manifest(b"")["test_vectors"][0]
    mean = float(gray_ramp().mean() / 255)
    package.network.graph.output.append(
        helper.make_tensor_value_info("column", TensorProto.FLOAT, ["N", 1])
    )
    package.changes = {
        "task": "detection",
        "raw_outputs": [{"name": "column", "shape": [1, 1], "meaning": "the mean"}],
        "test_vectors": [
            {"input": right["input"], "tolerance": 1e-4, "samples": {"logits": [mean, -mean]}}
        ],
    }

    assert load_package(package.write()).worst_deviation < 1e-4


@pytest.mark.parametrize(
    ("raw", "samples", "reason"),
    [
        ({"name": "absent", "shape": [1, 1]}, {}, Reason.SHAPE_MISMATCH),
        ({"name": "column", "shape": [1, 4]}, {}, Reason.SHAPE_MISMATCH),
        ({"name": "column", "shape": [1, 1]}, {"logits": [0.0, 0.0]}, Reason.TEST_VECTOR_FAILED),
        ({"name": "column", "shape": [1, 1]}, {"column": [0.0, 0.0]}, Reason.TEST_VECTOR_FAILED),
        ({"name": "column", "shape": [1, 1]}, {"other": [0.0, 0.0]}, Reason.BAD_MANIFEST),
        ({"name": "logits", "shape": [1, 2]}, {}, Reason.BAD_MANIFEST),
    ],
)
def test_raw_outputs_that_are_not_so_are_refused(
    package: PackageBuilder,
    raw: dict[str, object],
    samples: dict[str, list[float]],
    reason: Reason,
) -> None:
    right = package.manifest(b"")["test_vectors"][0]
    package.network.graph.output.append(
        helper.make_tensor_value_info("column", TensorProto.FLOAT, ["N", 1])
    )
    package.changes = {
        "raw_outputs": [raw | {"meaning": "something"}],
        "test_vectors": [right | {"samples": samples}],
    }

    with pytest.raises(PackageRefused) as refused:
        load_package(package.write())

    assert refused.value.reason is reason


def test_a_vector_that_states_no_answer_is_refused(package: PackageBuilder) -> None:
    package.changes = {"test_vectors": [{"input": "vectors/0.png", "tolerance": 1e-3}]}

    with pytest.raises(PackageRefused, match="neither output nor samples"):
        load_package(package.write())
