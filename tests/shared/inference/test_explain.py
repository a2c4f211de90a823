"""Class activation maps become weights over the picture."""

import numpy as np
import pytest

from shared.inference.explain import map_from_features, normalised_map


def test_the_peak_is_one_and_what_speaks_against_is_zero() -> None:
    weights = normalised_map(np.array([[-3, 0], [1, 4]], np.float32))

    np.testing.assert_allclose(weights, np.array([[0, 0], [0.25, 1]]))


@pytest.mark.parametrize("value", [0.0, -2.0, np.nan, np.inf])
def test_a_map_without_a_peak_is_blank(value: float) -> None:
    """Nothing is shown where the network saw nothing."""
    assert not normalised_map(np.full((2, 2), value, np.float32)).any()


def test_features_are_summed_up() -> None:
    features = np.zeros((4, 2, 2), np.float32)
    features[:, 1, 0] = 3

    np.testing.assert_allclose(map_from_features(features), np.array([[0, 0], [1, 0]]))
