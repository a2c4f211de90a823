"""The sizes that a DICOM header declares, and whether its pixels can be of them."""

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    JPEG2000MC,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000MCLossless,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from shared.imaging.dicom_values import integer_of
from shared.imaging.errors import UnreadableImage, UnsupportedImage
from shared.imaging.formats import jpeg, jpeg2000
from shared.imaging.limits import Limits

NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})
_JPEG = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes})
# Part 2, several components at once, has no decoder anywhere.
_JPEG2000 = frozenset(JPEG2000TransferSyntaxes) - {JPEG2000MC, JPEG2000MCLossless}


class Shape:
    """The sizes in the header, checked."""

    __slots__ = (
        "bits_allocated",
        "bits_stored",
        "columns",
        "frames",
        "high_bit",
        "rows",
        "samples",
    )

    def __init__(self, dataset: Dataset) -> None:
        self.rows = integer_of(dataset, "Rows", 0)
        self.columns = integer_of(dataset, "Columns", 0)
        self.frames = max(1, integer_of(dataset, "NumberOfFrames", 1))
        self.samples = integer_of(dataset, "SamplesPerPixel", 1)
        self.bits_allocated = integer_of(dataset, "BitsAllocated", 0)
        self.bits_stored = integer_of(dataset, "BitsStored", self.bits_allocated)
        self.high_bit = integer_of(dataset, "HighBit", self.bits_stored - 1)

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        return self.rows * self.columns * self.samples * self.bits_allocated


def read_shape(dataset: Dataset, limits: Limits) -> Shape:
    """The header's sizes, refused where they are too large or cannot be true."""
    shape = Shape(dataset)
    if "Rows" not in dataset:
        raise UnsupportedImage("The DICOM file holds no picture.")
    limits.check_size(shape.columns, shape.rows)
    limits.check_frames(shape.frames)
    if shape.samples not in (1, 3):
        raise UnsupportedImage(f"DICOM pictures of {shape.samples} samples per pixel are not read.")
    if shape.bits_allocated not in (1, 8, 16, 32):
        raise UnsupportedImage(f"DICOM samples of {shape.bits_allocated} bits are not read.")
    if not 1 <= shape.bits_stored <= shape.bits_allocated:
        raise UnreadableImage("The DICOM file stores more bits than it has room for.")
    if not shape.bits_stored - 1 <= shape.high_bit < shape.bits_allocated:
        raise UnreadableImage("The DICOM file's high bit does not fit its samples.")
    return shape


def check_pixels(dataset: Dataset, transfer_syntax: str, shape: Shape, limits: Limits) -> None:
    """Refuse pixels that are no picture, are missing, or would decode to another size."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise UnsupportedImage(
            "The DICOM file holds a map of measurements (float pixel data), not a picture."
        )
    if "PixelData" not in dataset:
        raise UnsupportedImage("The DICOM file holds no pixel data.")
    pixel_data = dataset.PixelData
    if transfer_syntax in NATIVE:
        if 8 * len(pixel_data) < shape.frame_bits:
            raise UnreadableImage("The DICOM file's pixel data is cut short.")
        return
    if transfer_syntax not in _JPEG | _JPEG2000 | {RLELossless}:
        raise UnsupportedImage(f"DICOM pixels in transfer syntax {transfer_syntax} are not read.")
    frame = get_frame(pixel_data, 0, number_of_frames=shape.frames)
    if transfer_syntax == RLELossless:
        # PackBits gains nothing on noise and loses one byte in 128.
        if 8 * len(frame) > 2 * shape.frame_bits + 8 * 1024:
            raise UnreadableImage("The DICOM file's coded frame is longer than its pixels.")
        return
    if transfer_syntax in _JPEG2000:
        size = jpeg2000.read_size_header(frame)
        jpeg2000.check_size_header(size, limits)
        declared = (size.width_px, size.height_px, size.components)
    else:
        header = jpeg.read_frame_header(frame)
        limits.check_size(header.width_px, header.height_px)
        jpeg.check_scans(frame, header, limits)
        declared = (header.width_px, header.height_px, header.components)
    if declared != (shape.columns, shape.rows, shape.samples):
        raise UnreadableImage("The DICOM header and its coded frame disagree about the size.")
