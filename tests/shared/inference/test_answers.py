"""Logits become probabilities, and probabilities decisions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.inference.answers import decisions, probabilities, sigmoid, softmax
from shared.inference.manifest import Manifest, parse_manifest
from tests.shared.inference.packages import PackageBuilder


def manifest(**changes: Any) -> Manifest:
    """A right manifest with some members changed."""
    members = PackageBuilder(Path("unused")).manifest(b"") | changes
    return parse_manifest(yaml.safe_dump(members).encode())


def test_each_label_has_its_probability() -> None:
    found = probabilities(manifest(), np.array([0.0, np.log(3)], np.float32))

    assert found == pytest.approx({"cat": 0.5, "dog": 0.75}, abs=1e-6)


def test_temperature_divides_the_logits() -> None:
    """sigmoid(logit / T): Guo et al., ICML 2017."""
    calibrated = manifest(calibration={"method": "temperature", "value": 2.0})

    found = probabilities(calibrated, np.array([2 * np.log(3), 0.0], np.float32))

    assert found["cat"] == pytest.approx(0.75, abs=1e-6)


def test_one_logit_gives_two_labels_that_sum_to_one() -> None:
    found = probabilities(manifest(), np.array([np.log(3)], np.float32))

    assert found == pytest.approx({"cat": 0.25, "dog": 0.75}, abs=1e-6)


def test_softmax_sums_to_one() -> None:
    found = probabilities(
        manifest(output={"name": "logits", "activation": "softmax", "labels": ["cat", "dog"]}),
        np.array([1000.0, 1000.0], np.float32),
    )

    assert found == {"cat": 0.5, "dog": 0.5}


def test_a_logit_too_many_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 logits for 2 labels"):
        probabilities(manifest(), np.zeros(3, np.float32))


@pytest.mark.parametrize(("probability", "positive"), [(0.5, True), (0.4999, False)])
def test_an_operating_point_is_reached_from_below(probability: float, positive: bool) -> None:
    assert decisions(manifest(), {"cat": probability, "dog": 1.0}) == {"cat": positive}


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_no_logit_leaves_the_range_of_probabilities(logit: float) -> None:
    row = np.array([logit, 0.0], np.float32)

    assert 0 <= sigmoid(row)[0] <= 1
    assert softmax(row).sum() == pytest.approx(1)
