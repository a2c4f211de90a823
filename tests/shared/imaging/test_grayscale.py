"""The DICOM grayscale pipeline against values computed by hand from PS3.3."""

import numpy as np
import pytest

from shared.imaging.grayscale import Grayscale, LookupTable, Window, WindowFunction, to_display


def test_linear_window_follows_the_standards_own_example() -> None:
    """C.11.2.1.2.1: centre 2048, width 4096 maps 0 to black, 4095 to white."""
    brightness = Window(2048, 4096).apply(np.array([0.0, 2047.5, 4095.0]))

    np.testing.assert_allclose(brightness, [0, 0.5, 1], atol=1e-12)


def test_linear_window_of_width_one_is_a_threshold() -> None:
    """C.11.2.1.2.1: centre 2048, width 1 is black up to 2047 and white from 2048."""
    brightness = Window(2048, 1).apply(np.array([2047.0, 2048.0]))

    np.testing.assert_array_equal(brightness, [0, 1])


def test_exact_window_spans_its_width() -> None:
    """C.11.2.1.3.2: (x - c) / w + 0.5, so c - w/2 is black and c + w/2 is white."""
    window = Window(127.5, 255, WindowFunction.LINEAR_EXACT)

    np.testing.assert_allclose(window.apply(np.array([0, 127.5, 255])), [0, 0.5, 1])


def test_sigmoid_window_follows_its_formula() -> None:
    """C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w))."""
    window = Window(100, 40, WindowFunction.SIGMOID)

    np.testing.assert_allclose(
        window.apply(np.array([80.0, 100.0, 120.0])), [0.119203, 0.5, 0.880797], atol=1e-6
    )


@pytest.mark.parametrize("window", [Window(1, 0), Window(1, -5), Window(float("nan"), 10)])
def test_an_impossible_window_is_left_out_with_a_note(window: Window) -> None:
    """It must not divide by zero, nor blank the picture."""
    pixels, notes = to_display(
        np.array([[0, 100, 200]], np.uint8), Grayscale(bits_stored=8, window=window)
    )

    np.testing.assert_array_equal(pixels, [[0, 100, 200]])
    assert notes == ("The file's window is not valid and was left out.",)


def test_a_window_is_in_rescaled_units() -> None:
    """Rescale first: 1000 * 2 - 1000 = 1000 is the centre."""
    grayscale = Grayscale(
        bits_stored=16,
        slope=2,
        intercept=-1000,
        window=Window(1000, 400, WindowFunction.LINEAR_EXACT),
    )

    pixels, _ = to_display(np.array([[900, 1000, 1100]], np.uint16), grayscale)

    np.testing.assert_array_equal(pixels, [[0, 128, 255]])


def test_a_modality_table_clamps_at_its_ends() -> None:
    """C.11.1.1.1: below the first mapped value counts the first entry, above the last, the last."""
    table = LookupTable(first=10, bits=16, outputs=np.array([5, 50, 500]))

    np.testing.assert_array_equal(
        table.apply(np.array([0.0, 10, 11, 12, 99])), [5, 5, 50, 500, 500]
    )


def test_a_voi_table_goes_before_the_window() -> None:
    """Where a file has both, the table is the more careful of the two."""
    grayscale = Grayscale(
        bits_stored=8,
        window=Window(1, 2),
        voi=LookupTable(first=0, bits=8, outputs=np.array([255, 51, 0])),
    )

    pixels, _ = to_display(np.array([[0, 1, 2]], np.uint8), grayscale)

    np.testing.assert_array_equal(pixels, [[255, 51, 0]])


def test_inversion_comes_after_the_window() -> None:
    """MONOCHROME1: turning the stored values first would move the window."""
    grayscale = Grayscale(
        bits_stored=12,
        window=Window(100, 200, WindowFunction.LINEAR_EXACT),
        is_inverted=True,
    )

    pixels, _ = to_display(np.array([[0, 50, 200, 4095]], np.uint16), grayscale)

    np.testing.assert_array_equal(pixels, [[255, 191, 0, 0]])


def test_without_a_window_the_bulk_of_the_values_is_spread() -> None:
    """One hot pixel in a thousand does not darken the rest."""
    stored = np.arange(1000, 2000, dtype=np.uint16).reshape(20, 50).copy()
    stored[0, 0] = 60_000

    pixels, notes = to_display(stored, Grayscale(bits_stored=16))

    assert pixels[10, 0] == pytest.approx(128, abs=2)
    assert notes == ("The file names no window: the 0.5th to 99.5th percentile is shown.",)


def test_padding_is_black_and_outside_the_spread() -> None:
    """Collimated borders are filled with a value that is no measurement."""
    stored = np.full((10, 10), 63_536, dtype=np.uint16)
    stored[3:7, 3:7] = np.linspace(100, 200, 16).reshape(4, 4).astype(np.uint16)
    grayscale = Grayscale(bits_stored=16, padding=(63_536, 63_536), is_inverted=True)

    pixels, _ = to_display(stored, grayscale)

    assert pixels[0, 0] == 0
    assert (pixels[3, 3], pixels[6, 6]) == (255, 0)


def test_signed_values_keep_their_order() -> None:
    """The table is indexed by wrapped codes; none of them may land in the wrong place."""
    stored = np.array([[-32768, -1, 0, 1, 32767]], dtype=np.int16)
    grayscale = Grayscale(
        bits_stored=16, is_signed=True, window=Window(0, 65536, WindowFunction.LINEAR_EXACT)
    )

    pixels, _ = to_display(stored, grayscale)

    np.testing.assert_array_equal(pixels, [[0, 127, 128, 128, 255]])


def test_one_value_everywhere_is_black() -> None:
    """Nothing to spread, and nothing to divide by."""
    pixels, _ = to_display(np.full((3, 3), 700, np.uint16), Grayscale(bits_stored=16))

    np.testing.assert_array_equal(pixels, np.zeros((3, 3)))
