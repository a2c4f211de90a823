"""A decoded picture, as every service sees it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What a DICOM file says about its picture; nothing that names a patient.

    Attributes:
        patient_orientation: where rows and columns point, for example `("L", "F")`.
        pixel_spacing_mm: distance of neighbouring rows, then of neighbouring columns; None where
            the file has none or an impossible one.
        spacing_at_detector: the spacing is the detector's (Imager Pixel Spacing), so lengths in the
            patient are smaller by an unknown magnification.
        burned_in_annotation: whether the pixels show text that may identify someone; None where
            the file does not say.
    """

    modality: str | None
    body_part: str | None
    view_position: str | None
    patient_orientation: tuple[str, ...]
    photometric: str
    pixel_spacing_mm: tuple[float, float] | None
    spacing_at_detector: bool
    burned_in_annotation: bool | None
    rows: int
    columns: int
    bits_stored: int
    frames: int
    transfer_syntax_uid: str
    sop_class_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, upright, ready to look at.

    Attributes:
        pixels: `(H, W)` gray or `(H, W, 3)` RGB, 0 to 255, black is 0 (MONOCHROME2: bone is
            bright), C-contiguous, perhaps read-only.
        format: what the bytes were: png, jpeg, tiff, bmp, gif, webp, jpeg2000, pnm or dicom.
        width_px: width of the whole upright picture; `pixels` is smaller where `target_px` let
            the decoder reduce it.
        height_px: its height.
        dicom: what a DICOM file says about itself.
        notes: decisions taken on the way that change what is seen, in plain sentences.
    """

    pixels: NDArray[np.uint8]
    format: str
    width_px: int
    height_px: int
    dicom: DicomFacts | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_gray(self) -> bool:
        """Whether `pixels` has one channel."""
        return self.pixels.ndim == 2

    def to_gray(self) -> NDArray[np.uint8]:
        """`pixels` as `(H, W)`; colours by ITU-R BT.601 luma."""
        if self.is_gray:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    def to_rgb(self) -> NDArray[np.uint8]:
        """`pixels` as `(H, W, 3)`."""
        if not self.is_gray:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
