"""What a DICOM file says about showing its gray values: tables, windows, padding, inversion."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.imaging.dicom_shape import Shape
from shared.imaging.dicom_values import integer_of, number_of, text_of, words_of
from shared.imaging.errors import UnreadableImage
from shared.imaging.grayscale import Grayscale, LookupTable, Window, WindowFunction


def read_grayscale(
    dataset: Dataset, shape: Shape, photometric: str, *, is_signed: bool
) -> Grayscale:
    """Everything that `to_display` wants to know."""
    return Grayscale(
        bits_stored=shape.bits_stored,
        is_signed=is_signed,
        slope=number_of(dataset, "RescaleSlope") or 1.0,
        intercept=number_of(dataset, "RescaleIntercept") or 0.0,
        modality=_read_table(dataset, "ModalityLUTSequence", is_signed=is_signed),
        voi=_read_table(dataset, "VOILUTSequence", is_signed=is_signed),
        window=_read_window(dataset),
        # MONOCHROME1 implies INVERSE: the two together turn once, not twice.
        is_inverted=photometric == "MONOCHROME1"
        or text_of(dataset, "PresentationLUTShape") == "INVERSE",
        padding=_read_padding(dataset, is_signed=is_signed, bits=shape.bits_allocated),
    )


def _read_window(dataset: Dataset) -> Window | None:
    center, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = text_of(dataset, "VOILUTFunction") or WindowFunction.LINEAR
    if function not in set(WindowFunction):
        return None
    return Window(center, width, WindowFunction(function))


def _read_table(dataset: Dataset, keyword: str, *, is_signed: bool) -> LookupTable | None:
    """The first LUT of a sequence."""
    sequence = dataset.get(keyword)
    if not sequence:
        return None
    item = sequence[0]
    count, first, bits = words_of(item, "LUTDescriptor")
    count = count & 0xFFFF or 1 << 16
    if is_signed and first >= 1 << 15:
        first -= 1 << 16
    bits = min(max(bits, 8), 16)
    outputs = _table_outputs(item, count, bits)
    if len(outputs) < count:
        raise UnreadableImage("A lookup table of the DICOM file is cut short.")
    return LookupTable(first=first, bits=bits, outputs=outputs[:count])


def _table_outputs(item: Dataset, count: int, bits: int) -> NDArray[np.int64]:
    """LUT Data: words, or two bytes in each word where the table has 8-bit entries."""
    words = np.asarray(words_of(item, "LUTData"), dtype=np.int64) & 0xFFFF
    if len(words) < count and bits == 8 and 2 * len(words) >= count:
        return np.stack((words & 0xFF, words >> 8), axis=1).ravel()
    return words


def _read_padding(dataset: Dataset, *, is_signed: bool, bits: int) -> tuple[int, int] | None:
    if "PixelPaddingValue" not in dataset:
        return None
    first = integer_of(dataset, "PixelPaddingValue", 0)
    last = integer_of(dataset, "PixelPaddingRangeLimit", first)
    if is_signed:
        first, last = (
            value - (1 << bits) if value >= 1 << (bits - 1) else value for value in (first, last)
        )
    return min(first, last), max(first, last)
