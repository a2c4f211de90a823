"""Lesions drawn for a person's eye: boxes over the photograph, and masks as pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.domain import Analysis, LesionMask, LesionType
from services.netra.masks import to_pixels
from shared.imaging import Picture, to_jpeg, to_png

MAX_SIDE_PX = 2048
#: RGB; told apart by people with any colour vision on a red ground (Okabe and Ito, 2008).
COLOURS: dict[LesionType, tuple[int, int, int]] = {
    LesionType.MICROANEURYSM: (86, 180, 233),
    LesionType.HAEMORRHAGE: (0, 158, 115),
    LesionType.HARD_EXUDATE: (240, 228, 66),
    LesionType.SOFT_EXUDATE: (255, 255, 255),
}
_NAMES: dict[LesionType, str] = {
    LesionType.MICROANEURYSM: "microaneurysm",
    LesionType.HAEMORRHAGE: "haemorrhage",
    LesionType.HARD_EXUDATE: "hard exudate",
    LesionType.SOFT_EXUDATE: "soft exudate",
}


def draw_annotated(picture: Picture, found: Analysis) -> bytes:
    """The photograph with a box around each lesion, a legend, and what the answer is worth.

    Args:
        picture: the upload, decoded at any size.
        found: what was found; boxes are in pixels of the whole upright upload.

    Returns:
        A JPEG in the upload's aspect, its longest side at most 2,048 px.
    """
    rgb = picture.to_rgb()
    height_px, width_px = rgb.shape[:2]
    scale = min(1.0, MAX_SIDE_PX / max(height_px, width_px))
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    drawn = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb.copy()
    canvas: NDArray[np.uint8] = np.ascontiguousarray(drawn, np.uint8)
    x_scale, y_scale = size[0] / picture.width_px, size[1] / picture.height_px
    thickness = max(1, max(size) // 900)
    for lesion in found.lesions:
        left, top, right, bottom = lesion.box_xyxy_px
        # One pixel of air, so that a small lesion is not hidden by its own box.
        start = (int(left * x_scale) - thickness, int(top * y_scale) - thickness)
        end = (int(right * x_scale) + thickness, int(bottom * y_scale) + thickness)
        cv2.rectangle(canvas, start, end, COLOURS[lesion.type], thickness)
    _write_legend(canvas, found)
    return to_jpeg(canvas)


def _write_legend(canvas: NDArray[np.uint8], found: Analysis) -> None:
    """A line for each type of lesion, and the evidence level, into a corner."""
    size = max(canvas.shape[:2]) / 1600
    step = max(8, round(26 * size))
    thickness = max(1, round(1.5 * size))
    lines = [
        (f"{_NAMES[type_]} {sum(lesion.type is type_ for lesion in found.lesions)}", colour)
        for type_, colour in COLOURS.items()
    ]
    lines.append((f"{found.evidence}, not for diagnosis", (200, 200, 200)))
    for place, (text, colour) in enumerate(lines, start=1):
        at = (step // 2, place * step)
        for rgb, weight in (((0, 0, 0), thickness + 2), (colour, thickness)):
            cv2.putText(
                canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * size, rgb, weight, cv2.LINE_AA
            )


def draw_mask(mask: LesionMask) -> bytes:
    """A mask as a PNG of the whole photograph at reduced size: 255 where the lesion is, else 0."""
    return to_png(np.where(to_pixels(mask), 255, 0).astype(np.uint8))


def draw_plain(picture: Picture) -> bytes:
    """The upload as a PNG that every browser shows, without any of the file's metadata."""
    return to_png(picture.pixels)
