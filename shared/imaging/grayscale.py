"""From stored gray values to what a display shows: the DICOM grayscale pipeline, on a table.

Source:
    DICOM PS3.3 2024, C.11.1 (modality LUT), C.11.2 (VOI LUT and windows), C.11.6 (presentation).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

_COUNTED_AT_ONCE = 1 << 22
_LOW_PERCENTILE, _HIGH_PERCENTILE = 0.5, 99.5


class WindowFunction(StrEnum):
    """How a window maps values to brightness."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """A centre and a width, in modality units (after rescale)."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR

    @property
    def is_valid(self) -> bool:
        """Whether the standard allows this width."""
        if not (np.isfinite(self.center) and np.isfinite(self.width)):
            return False
        return self.width >= 1 if self.function is WindowFunction.LINEAR else self.width > 0

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Brightness, 0 to 1, of modality values."""
        if self.function is WindowFunction.SIGMOID:
            exponent = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            return np.asarray(1 / (1 + np.exp(exponent)))
        if self.function is WindowFunction.LINEAR_EXACT:
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A DICOM LUT: `outputs[0]` is for `first` and everything below it."""

    first: int
    bits: int
    outputs: NDArray[np.int64]

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs for values; beyond the ends the end's output."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.outputs) - 1)
        return np.asarray(self.outputs[index.astype(np.int64)], dtype=np.float64)

    def apply_as_brightness(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs as fractions, 0 to 1, of the full scale that `bits` names."""
        full_scale = max((1 << self.bits) - 1, int(self.outputs.max()))
        return np.clip(self.apply(values) / full_scale, 0, 1)


@dataclass(frozen=True, slots=True)
class Grayscale:
    """What a DICOM file says about the display of its gray values.

    Attributes:
        bits_stored: meaningful bits of a stored value.
        is_signed: stored values may be negative.
        slope: of the rescale, where there is no modality LUT.
        intercept: of the rescale.
        modality: the modality LUT.
        voi: the VOI LUT; it goes before `window`.
        window: the first window.
        is_inverted: small values are bright.
        padding: stored values, first to last, that stand for no measurement.
    """

    bits_stored: int
    is_signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality: LookupTable | None = None
    voi: LookupTable | None = None
    window: Window | None = None
    is_inverted: bool = False
    padding: tuple[int, int] | None = None


def to_display(
    stored: NDArray[np.integer], grayscale: Grayscale
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Brightness of stored values, and what was decided where the file says nothing.

    A stored value has at most 65,536 forms, so the pipeline runs once on a table of those that
    occur, in double precision, and the pixels are one look-up.

    Without a VOI LUT or window, unsigned values of up to 8 bits that are not rescaled are shown as
    they are; others from the 0.5th to the 99.5th percentile, padding left out.

    Args:
        stored: `(H, W)`, sign already extended.
        grayscale: the file's own description.

    Returns:
        `(H, W)`, 0 is black, and notes.

    Raises:
        ValueError: the values span more than 2^20.
    """
    index, low, high = _index(stored)
    forms = np.arange(low, high + 1, dtype=np.float64)
    is_padding = _is_padding(forms, grayscale)

    values = (
        grayscale.modality.apply(forms)
        if grayscale.modality
        else forms * grayscale.slope + grayscale.intercept
    )
    notes: tuple[str, ...] = ()
    window = grayscale.window
    if window is not None and not window.is_valid:
        window, notes = None, ("The file's window is not valid and was left out.",)
    if grayscale.voi is not None:
        brightness = grayscale.voi.apply_as_brightness(values)
    elif window is not None:
        brightness = window.apply(values)
    elif _is_display_ready(grayscale):
        brightness = values / ((1 << grayscale.bits_stored) - 1)
    else:
        counts = _count(index, len(forms))
        brightness = _stretch(values, np.where(is_padding, 0, counts))
        notes += ("The file names no window: the 0.5th to 99.5th percentile is shown.",)
    if grayscale.is_inverted:
        brightness = 1 - brightness
    # Padding is what surrounds the picture, so it is black however the picture counts.
    brightness = np.where(is_padding, 0.0, brightness)
    table = np.rint(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
    return table[index], notes


def _index(stored: NDArray[np.integer]) -> tuple[NDArray[np.integer], int, int]:
    """Stored values as places in a table of all from the lowest to the highest of them.

    Samples of 8 and 16 bits need no wider type for that: signed ones wrap round to their places.
    """
    low, high = int(stored.min()), int(stored.max())
    if high - low >= 1 << 20:
        raise ValueError("The stored values span too much for a table.")
    if stored.dtype.kind == "u" and high < 1 << 16:
        return stored, 0, high
    if stored.dtype.itemsize <= 2:
        unsigned = np.dtype(f"u{stored.dtype.itemsize}")
        wrapped = np.ascontiguousarray(stored).view(unsigned)
        return wrapped - unsigned.type(low % (1 << 8 * unsigned.itemsize)), low, high
    return (stored - low).astype(np.int32), low, high


def _count(index: NDArray[np.integer], forms: int) -> NDArray[np.int64]:
    """How often each place occurs; in pieces, because numpy widens what it counts."""
    flat = index.reshape(-1)
    counts = np.zeros(forms, dtype=np.int64)
    for start in range(0, len(flat), _COUNTED_AT_ONCE):
        counts += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=forms)
    return counts


def _is_padding(forms: NDArray[np.float64], grayscale: Grayscale) -> NDArray[np.bool_]:
    if grayscale.padding is None:
        return np.zeros(forms.shape, dtype=np.bool_)
    first, last = grayscale.padding
    return (forms >= first) & (forms <= last)


def _is_display_ready(grayscale: Grayscale) -> bool:
    return (
        grayscale.bits_stored <= 8
        and not grayscale.is_signed
        and grayscale.modality is None
        and (grayscale.slope, grayscale.intercept) == (1.0, 0.0)
    )


def _stretch(values: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Spread the bulk of the values over the whole brightness."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(counts[order])
    total = int(cumulated[-1])
    if total == 0:
        return np.zeros(values.shape)
    at = [
        int(np.searchsorted(cumulated, total * percentile / 100))
        for percentile in (_LOW_PERCENTILE, _HIGH_PERCENTILE)
    ]
    low, high = (values[order[min(index, len(values) - 1)]] for index in at)
    if high <= low:
        occurring = values[counts > 0]
        low, high = occurring.min(), occurring.max()
    if high <= low:
        return np.zeros(values.shape)
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))
