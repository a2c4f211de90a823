"""Weights of a quantised TensorFlow Lite file, as real numbers in ONNX's layout."""

import os
from pathlib import Path

import numpy as np
import pytest

from shared.inference.conversion.convolutions import WrongWeights, load_convolutions

#: MobileNetV2 1.0 at 224 px, quantised after training.
SHA256 = "5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c"
MIRROR = Path(os.environ.get("VEDETTE_MODEL_MIRROR", "."))


@pytest.mark.weights
@pytest.mark.skipif(
    not (MIRROR / SHA256).is_file(), reason="VEDETTE_MODEL_MIRROR does not hold MobileNetV2"
)
def test_every_convolution_of_mobilenet_is_read() -> None:
    """52 and the classifier; a depthwise one filters each channel by itself."""
    found = load_convolutions(MIRROR / SHA256, SHA256)

    assert len(found) == 53
    assert found[0].weight.shape == (32, 3, 3, 3)
    assert found[1].depthwise
    assert found[1].weight.shape == (32, 1, 3, 3)
    for each in found:
        assert each.bias.shape == each.weight.shape[:1]
        assert np.isfinite(each.weight).all()
        assert each.weight.any()


def test_a_file_that_is_not_there_or_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongWeights, match="no file"):
        load_convolutions(tmp_path / "absent.tflite", SHA256)
    (tmp_path / "other.tflite").write_bytes(b"other")
    with pytest.raises(WrongWeights, match="expected SHA-256"):
        load_convolutions(tmp_path / "other.tflite", SHA256)
