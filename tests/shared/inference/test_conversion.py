"""A converted checkpoint answers what its source framework answers, to 1e-4 on the logits."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.inference import PackageRefused, load_package
from shared.inference.conversion.checkpoint import CheckpointRefused, read_checkpoint
from shared.inference.conversion.layouts import FINDINGS, LAYOUTS, Layout, convert, finding_rows
from shared.inference.conversion.packaging import Naming, package_checkpoint
from shared.inference.conversion.phantoms import SIZES_PX, phantom
from shared.inference.evidence import Evidence
from shared.inference.runtime import CPU_PROVIDER, Session

torch = pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")

#: Layers per block, growth, width after the first layer.
DENSENET_121 = ((6, 12, 24, 16), 32, 64)
SMALL = ((2, 1), 4, 8)


def source(layout: Layout, shape: Any) -> Any:
    """The source framework's network with random weights."""
    networks = importlib.import_module("tests.shared.inference.densenet_torch")
    kinds = {
        Layout.TORCHXRAYVISION: networks.TorchXRayVision,
        Layout.JFHEALTHCARE: networks.JfHealthcare,
    }
    return networks.seeded(kinds[layout](*shape), 1024 if layout is Layout.TORCHXRAYVISION else 1)


def save(path: Path, contents: Any) -> Path:
    """Write a checkpoint."""
    torch.save(contents, path)
    return path


@pytest.mark.parametrize("layout", list(Layout))
def test_a_densenet_121_converts_to_the_same_logits(tmp_path: Path, layout: Layout) -> None:
    """Random weights of the right shape, and a network written apart from the conversion."""
    network = source(layout, DENSENET_121)
    checkpoint = read_checkpoint(save(tmp_path / "c.pt", network.state_dict()))
    spec = LAYOUTS[layout].input
    low, high = (np.array([0, 255]) * spec.scale - spec.mean[0]) / spec.std[0]
    random = np.random.default_rng(0)
    batch = random.uniform(low, high, (2, spec.channels, *spec.size)).astype(np.float32)

    converted = convert(checkpoint, layout)
    session = Session(converted.network.SerializeToString(), [(CPU_PROVIDER, {})], 2)
    outputs = session.run({"image": batch})
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()[:, finding_rows(layout)]

    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
    assert outputs["features"].shape[:2] == (2, 1024)
    assert outputs["cam"].shape[:2] == (2, 5)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("layout", list(Layout))
def test_a_checkpoint_becomes_a_package_that_verifies(tmp_path: Path, layout: Layout) -> None:
    """The test vectors are the source framework's answers, so loading proves the conversion."""
    checkpoint = save(tmp_path / "c.pt", source(layout, SMALL).state_dict())
    folder = tmp_path / "package"
    folder.mkdir()

    package_checkpoint(checkpoint, folder, Naming("dense", "1.0"))
    package = load_package(folder)

    assert package.manifest.labels == FINDINGS
    assert package.manifest.evidence is Evidence.DEMO
    assert package.worst_deviation <= 1e-4
    assert package.manifest.operating_points == dict.fromkeys(FINDINGS, 0.5)
    assert "no operating points" in package.manifest.card.limits


def test_a_converted_network_that_is_altered_no_longer_verifies(tmp_path: Path) -> None:
    """The vectors are worth something: other weights fail them."""
    first = source(Layout.TORCHXRAYVISION, SMALL).state_dict()
    second = {name: weight * 1.2 for name, weight in first.items()}
    for name, state in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        checkpoint = save(tmp_path / f"{name}.pt", state)
        package_checkpoint(checkpoint, tmp_path / name, Naming("dense", "1.0"))
    network = (tmp_path / "b" / "model.onnx").read_bytes()
    first_hash, second_hash = (load_package(tmp_path / name).manifest.sha256 for name in ("a", "b"))
    text = (tmp_path / "a" / "model.yaml").read_text().replace(first_hash, second_hash)
    (tmp_path / "a" / "model.yaml").write_text(text)
    (tmp_path / "a" / "model.onnx").write_bytes(network)

    with pytest.raises(PackageRefused, match="test-vector-failed"):
        load_package(tmp_path / "a")


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "module."])
def test_training_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str) -> None:
    """Weights lie inside a dictionary, or behind the prefix of a data-parallel run."""
    state = source(Layout.JFHEALTHCARE, SMALL).state_dict()
    contents: dict[str, Any] = (
        {f"module.{name}": weight for name, weight in state.items()}
        if wrapper == "module."
        else {"epoch": 3, wrapper: state}
    )

    checkpoint = read_checkpoint(save(tmp_path / "c.pth", contents))

    assert set(checkpoint.weights) == set(state)


def test_operating_points_of_the_checkpoint_are_kept(tmp_path: Path) -> None:
    """In the layout's order of outputs; those that are not numbers are left out."""
    state = source(Layout.TORCHXRAYVISION, SMALL).state_dict()
    points = torch.linspace(0.01, 0.18, 18)
    points[10] = float("nan")
    path = save(tmp_path / "c.pt", {**state, "op_threshs": points})

    converted = convert(read_checkpoint(path), Layout.TORCHXRAYVISION)

    assert converted.operating_points == pytest.approx(
        {"atelectasis": 0.01, "consolidation": 0.02, "edema": 0.05, "pleural_effusion": 0.08}
    )


def test_a_network_saved_as_a_whole_module_is_read_without_its_code(tmp_path: Path) -> None:
    """Published torchxrayvision checkpoints are pickled modules; none of their classes is run."""
    script = f"""
import sys, torch
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.shared.inference import densenet_torch as networks
import types
package, module = types.ModuleType("torchxrayvision"), types.ModuleType("torchxrayvision.models")
sys.modules |= {{"torchxrayvision": package, "torchxrayvision.models": module}}
renamed = {{"DenseNet": networks.TorchXRayVision, "_DenseLayer": networks.DenseLayer}}
network = networks.seeded(networks.TorchXRayVision(*{SMALL!r}), 1024)
for name, kind in renamed.items():
    kind.__module__, kind.__qualname__, kind.__name__ = module.__name__, name, name
    setattr(module, name, kind)
network.op_threshs = [0.5] * 18
torch.save(network, {str(tmp_path / "whole.pt")!r})
torch.save(network.state_dict(), {str(tmp_path / "state.pt")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

    whole = read_checkpoint(tmp_path / "whole.pt")
    state = read_checkpoint(tmp_path / "state.pt")

    assert "torchxrayvision" not in sys.modules
    assert whole.operating_points == (0.5,) * 18
    assert set(whole.weights) == set(state.weights)
    for name, weight in state.weights.items():
        np.testing.assert_array_equal(whole.weights[name], weight)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda state: state.pop("features.denseblock1.denselayer2.conv2.weight"), "lacks"),
        (lambda state: state.pop("features.denseblock1.denselayer1.norm1.weight"), "dense layers"),
        (lambda state: state.pop("classifier.bias"), "classifier.bias"),
        (lambda state: state.update({"features.extra.weight": torch.ones(1)}), "no DenseNet has"),
        (lambda state: state.update({"attention.weight": torch.ones(1)}), "attention.weight"),
        (lambda state: state.update({"classifier.weight": torch.ones(3, 8)}), "shape"),
        (lambda state: state.update({"features.norm5.bias": torch.ones(3)}), "shape"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Any, fault: str) -> None:
    """A network with another structure is never taken for this one."""
    state = source(Layout.TORCHXRAYVISION, SMALL).state_dict()
    change(state)
    checkpoint = read_checkpoint(save(tmp_path / "c.pt", state))

    with pytest.raises(CheckpointRefused, match=fault):
        convert(checkpoint, Layout.TORCHXRAYVISION)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = source(Layout.TORCHXRAYVISION, SMALL).state_dict()
    state["classifier.bias"][0] = float("nan")

    with pytest.raises(CheckpointRefused, match="finite"):
        read_checkpoint(save(tmp_path / "c.pt", state))


def test_the_pictures_of_the_vectors_do_not_change() -> None:
    """Packages made today and tomorrow carry the same pictures."""
    for number, size in enumerate(SIZES_PX):
        assert phantom(number).shape == size
        np.testing.assert_array_equal(phantom(number), phantom(number))
