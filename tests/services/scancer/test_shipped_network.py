"""The network that scancer ships: its package verifies, and it answers alike in every pose."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from services.scancer.training.phantom import draw_tissue
from shared.inference import load_package

PACKAGE = Path(__file__).parents[3] / "services" / "scancer" / "models" / "pcam-classification"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    """The network."""
    return onnxruntime.InferenceSession(PACKAGE / "model.onnx", providers=["CPUExecutionProvider"])


def logit_of(session: onnxruntime.InferenceSession, patch: NDArray[np.uint8]) -> float:
    """What the network says of a patch, prepared as the platform does."""
    prepared = load_package(PACKAGE).preprocess(np.ascontiguousarray(patch))[np.newaxis]
    return float(session.run(["logit"], {"image": prepared})[0][0, 0])


def test_the_package_verifies_and_says_what_it_is() -> None:
    """Its vectors, its gate, the scale that it reads, and a card with an interval."""
    package = load_package(PACKAGE)
    manifest = package.manifest

    assert manifest.labels == ("no_tumor", "tumor")
    assert (manifest.gate, manifest.input.mpp_um) == ("he-patch", 0.97)
    assert manifest.card.measured[0].metric == "auc"
    assert manifest.card.measured[0].interval is not None
    assert "32 x 32" in manifest.card.limits
    assert (PACKAGE / "model.onnx").stat().st_size < 4_000_000


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_or_mirrored_patch_gets_the_same_answer(
    session: onnxruntime.InferenceSession, turns: int, mirrored: bool
) -> None:
    """By construction; half-precision filters leave a hair's breadth."""
    patch = draw_tissue(96, 96, 7)
    posed = np.rot90(patch, turns)
    posed = posed[:, ::-1] if mirrored else posed

    assert logit_of(session, posed) == pytest.approx(logit_of(session, patch), abs=0.01)


def test_the_rim_of_a_patch_changes_nothing(session: onnxruntime.InferenceSession) -> None:
    """Only the middle 80 x 80 px are read."""
    patch = draw_tissue(96, 96, 8)
    framed = patch.copy()
    framed[:8], framed[-8:], framed[:, :8], framed[:, -8:] = 0, 0, 0, 0

    assert logit_of(session, framed) == logit_of(session, patch)
