"""`vedette models new` and `pack`: from an ONNX file to an archive that verifies."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from shared.cli.models import app
from shared.inference import PackageRefused, load_package
from shared.inference.archive import unpack
from shared.inference.scaffold import ScaffoldRefused, Wishes, scaffold, unfilled
from tests.shared.inference.packages import gray_ramp, mean_network, png


def colour_network(
    columns: int = 3, *, size: Any = 16, batch: Any = "N", channels: int = 3, ends_in: str = ""
) -> onnx.ModelProto:
    """Means of the colours times different weights; softmax or sigmoid at its end if wished."""
    weights = np.linspace(-2, 2, channels * columns, dtype=np.float32)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [channels, columns], weights.tolist())
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["raw" if ends_in else "out"]),
    ]
    if ends_in:
        nodes.append(helper.make_node(ends_in, ["raw"], ["out"]))
    shape = [batch, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, columns])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def written(tmp_path: Path, network: onnx.ModelProto) -> Path:
    """The network as a file."""
    path = tmp_path / "network.onnx"
    path.write_bytes(network.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("network", "wishes", "expected"),
    [
        (colour_network(), {}, ("RGB", (16, 16), "softmax", 3)),
        (colour_network(ends_in="Softmax"), {}, ("RGB", (16, 16), "none", 3)),
        (colour_network(1), {"labels": ("no", "yes")}, ("RGB", (16, 16), "sigmoid", 2)),
        (colour_network(2), {"task": "multi-label"}, ("RGB", (16, 16), "sigmoid", 2)),
        (
            colour_network(2, ends_in="Sigmoid"),
            {"task": "multi-label"},
            ("RGB", (16, 16), "none", 2),
        ),
        (colour_network(1), {"task": "regression"}, ("RGB", (16, 16), "none", 1)),
        (colour_network(size="S"), {"size_px": (32, 32)}, ("RGB", (32, 32), "softmax", 3)),
        (
            colour_network(channels=1),
            {"mean": (0.5,), "std": (0.2,)},
            ("GRAY", (16, 16), "softmax", 3),
        ),
        (colour_network(), {"colour": "BGR"}, ("BGR", (16, 16), "softmax", 3)),
        (mean_network(), {}, ("GRAY", (8, 8), "softmax", 2)),
    ],
)
def test_a_scaffold_of_any_classifier_verifies_as_it_is(
    tmp_path: Path, network: onnx.ModelProto, wishes: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """What the graph tells is right: the test vectors go through the real preparation."""
    folder = tmp_path / "package"
    manifest = scaffold(written(tmp_path, network), folder, Wishes("my-model", **wishes), ())
    package = load_package(folder)

    assert package.manifest == manifest
    assert (
        manifest.input.colour,
        manifest.input.size,
        manifest.output.activation,
        len(manifest.labels),
    ) == expected
    assert len(manifest.test_vectors) == 2
    assert manifest.evidence == "demo"
    assert set(unfilled(manifest)) == {
        "licence", "source", "card.trained_on", "card.intended_use", "card.limits",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("network", "wishes", "why"),
    [
        (colour_network(batch=1), {}, "dynamic"),
        (colour_network(size="S"), {}, "--size"),
        (colour_network(), {"size_px": (8, 8)}, "16x16"),
        (colour_network(), {"labels": ("a", "b")}, "2 labels"),
        (colour_network(), {"colour": "GRAY"}, "3 channels"),
        (colour_network(), {"output": "x"}, "no output 'x'"),
        (colour_network(1, ends_in="Sigmoid"), {}, "without its last sigmoid"),
    ],
)
def test_what_the_graph_does_not_tell_is_asked_for(
    tmp_path: Path, network: onnx.ModelProto, wishes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ScaffoldRefused, match=why):
        scaffold(written(tmp_path, network), tmp_path / "p", Wishes("my-model", **wishes), ())
    assert not (tmp_path / "p").exists()


def test_a_graph_that_no_package_may_hold_is_refused_at_once(tmp_path: Path) -> None:
    network = colour_network()
    network.graph.node[0].domain = "custom"

    with pytest.raises(PackageRefused, match="custom-operator"):
        scaffold(written(tmp_path, network), tmp_path / "p", Wishes("my-model"), ())


def run(tmp_path: Path, *words: str) -> tuple[int, str]:
    """One command, its status and what it prints."""
    result = CliRunner().invoke(app, [*words], env={"VEDETTE_HOME": str(tmp_path / "home")})
    return result.exit_code, " ".join(result.output.split())


def test_from_a_file_to_the_model_store_in_two_commands(tmp_path: Path) -> None:
    """And the second prints the third, which serves it."""
    network = written(tmp_path, colour_network(2))
    shown = tmp_path / "pictures"
    shown.mkdir()
    (shown / "a.png").write_bytes(png(gray_ramp(20)))
    folder = tmp_path / "camelyon-classification"
    made = run(
        tmp_path, "new", str(network), str(folder), "--labels", "normal, tumor",
        "--mean", "0.5", "--std", "0.25,0.25,0.25", "--pictures", str(shown),
    )  # fmt: skip
    packed = run(tmp_path, "pack", str(folder))
    archive = tmp_path / "home" / "model-store" / "camelyon-classification-1.0.zip"
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    unpack(archive, unpacked)
    package = load_package(unpacked)

    assert made[0] == 0
    assert "Now say in" in made[1]
    assert packed[0] == 0, packed[1]
    assert "models?url=camelyon-classification-1.0.zip&initial_workers=1" in packed[1]
    assert package.manifest.labels == ("normal", "tumor")
    assert package.manifest.input.std == (0.25, 0.25, 0.25)
    assert sorted(zipfile.ZipFile(archive).namelist()) == [
        "model.onnx",
        "model.yaml",
        "vectors/0.png",
    ]


def test_the_same_package_makes_the_same_archive(tmp_path: Path) -> None:
    network = written(tmp_path, colour_network(2))
    run(tmp_path, "new", str(network), str(tmp_path / "p"), "--id", "x")
    archives = [tmp_path / name for name in ("a.zip", "b.zip")]
    for archive in archives:
        assert run(tmp_path, "pack", str(tmp_path / "p"), "--output", str(archive))[0] == 0

    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_an_empty_card_is_good_for_a_demo_and_for_nothing_more(tmp_path: Path) -> None:
    network = written(tmp_path, colour_network(2))
    folder = tmp_path / "p"
    run(tmp_path, "new", str(network), str(folder), "--id", "x")
    as_demo = run(tmp_path, "pack", str(folder), "--output", str(tmp_path / "a.zip"))
    text = (folder / "model.yaml").read_text().replace("evidence: demo", "evidence: research")
    (folder / "model.yaml").write_text(text)
    as_research = run(tmp_path, "pack", str(folder), "--output", str(tmp_path / "b.zip"))

    assert as_demo[0] == 0
    assert "Still to say" in as_demo[1]
    assert as_research[0] == 1
    assert "needs a card that is filled in" in as_research[1]
    assert not (tmp_path / "b.zip").exists()


def test_a_package_is_not_overwritten(tmp_path: Path) -> None:
    network = written(tmp_path, colour_network(2))
    first = run(tmp_path, "new", str(network), str(tmp_path / "p"), "--id", "x")
    second = run(tmp_path, "new", str(network), str(tmp_path / "p"), "--id", "x")

    assert first[0] == 0
    assert second[0] == 1
    assert "holds a package already" in second[1]
