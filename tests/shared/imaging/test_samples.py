"""How wide gray samples become eight bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from numpy.typing import NDArray

from shared.imaging.samples import to_eight_bits


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 9), (1023, 10), (4095, 12), (16383, 14), (40000, 16)]
)
def test_white_is_the_full_scale_of_the_fewest_bits_that_hold_the_largest(
    largest: int, bits: int
) -> None:
    """No picture is stretched by more than a factor of two."""
    pixels, note = to_eight_bits(np.array([[0, largest]], dtype=np.uint16))

    assert pixels[0, 1] == round(255 * largest / (2**bits - 1))
    assert note == f"Samples were read as {bits} bits."


def test_negative_samples_are_stretched() -> None:
    """Signed TIFFs hold Hounsfield-like units, without a scale of their own."""
    pixels, _ = to_eight_bits(np.array([[-100, 0, 100]], dtype=np.int32))

    np.testing.assert_array_equal(pixels, [[0, 128, 255]])


def test_a_constant_picture_is_black_where_nothing_gives_a_scale() -> None:
    """There is no contrast to show."""
    pixels, _ = to_eight_bits(np.full((2, 2), -7.5, dtype=np.float32))

    np.testing.assert_array_equal(pixels, np.zeros((2, 2)))


@given(
    numpy_strategies.arrays(np.int32, (3, 4))
    | numpy_strategies.arrays(np.uint16, (3, 4))
    | numpy_strategies.arrays(
        np.float32, (3, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_order_of_brightness_is_kept(samples: NDArray[np.integer | np.floating]) -> None:
    """Whatever the rule, a larger sample is never darker."""
    pixels, _ = to_eight_bits(samples)

    order = np.argsort(samples, axis=None, kind="stable")
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
