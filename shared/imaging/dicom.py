"""DICOM files: headers by pydicom, pixels by its plugins, both behind our own bounds."""

from typing import Any

import numpy as np
import pydicom.config
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from shared.imaging.dicom_display import read_grayscale
from shared.imaging.dicom_facts import read_facts
from shared.imaging.dicom_shape import NATIVE, Shape, check_pixels, read_shape
from shared.imaging.dicom_stream import (
    MeteredStream,
    is_at_pixels,
    is_past_pixels,
    open_dicom,
    read_elements,
)
from shared.imaging.dicom_values import integer_of, text_of
from shared.imaging.errors import UnsupportedImage, decoder_failures
from shared.imaging.grayscale import to_display
from shared.imaging.limits import Limits
from shared.imaging.picture import Picture

# What strangers' files hold is for us to judge, not for pydicom to warn about.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def decode_dicom(data: bytes, limits: Limits) -> Picture:
    """Decode the first frame of a DICOM file as a radiologist's screen would show it.

    Stored values go through the modality LUT or rescale, then the VOI LUT or window, then are
    turned round if they count from white (MONOCHROME1). Overlays are left out.
    """
    body, transfer_syntax = open_dicom(data, limits)
    with decoder_failures("DICOM", BytesLengthException, InvalidDicomError):
        stream = MeteredStream(body, limits)
        dataset = read_elements(stream, transfer_syntax, stop_when=is_at_pixels)
        shape = read_shape(dataset, limits)
        dataset.update(read_elements(stream, transfer_syntax, stop_when=is_past_pixels))
        check_pixels(dataset, transfer_syntax, shape, limits)
        facts = read_facts(dataset, transfer_syntax, shape)
        pixels, notes = _to_pixels(dataset, transfer_syntax, shape)
    if shape.frames > 1:
        notes += (f"Only the first of {shape.frames} frames was read.",)
    return Picture(
        pixels=np.ascontiguousarray(pixels),
        format="dicom",
        width_px=shape.columns,
        height_px=shape.rows,
        dicom=facts,
        notes=notes,
    )


def _to_pixels(
    dataset: Dataset, transfer_syntax: str, shape: Shape
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    stored: NDArray[Any] = pixel_array(dataset, index=0)
    photometric = text_of(dataset, "PhotometricInterpretation") or ""
    if photometric == "PALETTE COLOR":
        rgb = apply_color_lut(stored, dataset)
        return _to_eight_bits(rgb, 8 * rgb.dtype.itemsize), ()
    if shape.samples == 3:
        return _to_eight_bits(stored, shape.bits_stored), ()
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedImage(
            f"DICOM pictures in {photometric or 'no colour space'} are not read."
        )
    is_signed = integer_of(dataset, "PixelRepresentation", 0) == 1
    if transfer_syntax in NATIVE or transfer_syntax == RLELossless:
        stored = _stored_bits(stored, shape, is_signed=is_signed)
    return to_display(stored, read_grayscale(dataset, shape, photometric, is_signed=is_signed))


def _stored_bits(samples: NDArray[Any], shape: Shape, *, is_signed: bool) -> NDArray[Any]:
    """Only the meaningful bits: old files keep overlays in the others."""
    if shape.bits_stored == shape.bits_allocated or shape.bits_allocated == 1:
        return samples
    above = shape.bits_allocated - 1 - shape.high_bit
    below = shape.high_bit + 1 - shape.bits_stored
    kind = f"i{shape.bits_allocated // 8}" if is_signed else f"u{shape.bits_allocated // 8}"
    shifted = samples.astype(kind) << above
    result: NDArray[Any] = shifted >> (above + below)
    return result


def _to_eight_bits(rgb: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if rgb.dtype == np.uint8 and bits >= 8:
        return rgb
    full_scale = (1 << bits) - 1
    scaled: NDArray[np.uint8] = np.rint(np.clip(rgb / full_scale, 0, 1) * 255).astype(np.uint8)
    return scaled
