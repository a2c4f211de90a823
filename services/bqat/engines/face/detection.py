"""Finds faces with YuNet.

Source:
    Wu, Peng and Yu, "YuNet: A tiny millisecond-level face detector", Machine Intelligence
    Research, 2023: boxes relative to cells of 8, 16 and 32 px, score = sqrt(cls * obj).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.face.geometry import Box, Face, Pixels, overlap
from services.bqat.engines.networks import LoadedNetwork, Outputs

_STRIDES = (8, 16, 32)
_IOU_THRESHOLD = 0.3


def detect(detector: LoadedNetwork, picture: Pixels, confidence: float) -> list[Face]:
    """Faces of at least this confidence, the largest first.

    Args:
        detector: YuNet.
        picture: `(H, W, 3)` RGB.
        confidence: 0 to 1.
    """
    preprocess = detector.package.preprocess
    framing = preprocess.framing(picture.shape[0], picture.shape[1])
    left, top, right, bottom = framing.target_xyxy_px
    x_scale = picture.shape[1] / (right - left)
    y_scale = picture.shape[0] / (bottom - top)
    cells = decode_cells(detector.run(_shrunk(picture, preprocess.target_px)), detector.side_px)
    found = []
    for score, box, points in cells:
        if score < confidence:
            continue
        points_px = (points - (left, top)) * (x_scale, y_scale)
        found.append(
            Face(
                Box(
                    float((box[0] - left) * x_scale),
                    float((box[1] - top) * y_scale),
                    float((box[2] - left) * x_scale),
                    float((box[3] - top) * y_scale),
                ),
                score,
                points_px,
            )
        )
    return suppress(found)


def decode_cells(
    outputs: Outputs, side_px: tuple[int, int]
) -> list[tuple[float, NDArray[np.float64], NDArray[np.float64]]]:
    """Score, box and five points of every cell that may hold a face, in the network's pixels."""
    found = []
    for stride in _STRIDES:
        columns = side_px[1] // stride
        cls = outputs[f"cls_{stride}"].reshape(-1).clip(0, 1)
        obj = outputs[f"obj_{stride}"].reshape(-1).clip(0, 1)
        scores = np.sqrt(cls * obj)
        boxes = outputs[f"bbox_{stride}"].reshape(-1, 4).astype(np.float64)
        points = outputs[f"kps_{stride}"].reshape(-1, 5, 2).astype(np.float64)
        for cell in np.flatnonzero(scores > 0.1):
            corner = np.array([cell % columns, cell // columns], np.float64)
            centre = (corner + boxes[cell, :2]) * stride
            size = np.exp(np.minimum(boxes[cell, 2:], 10)) * stride
            box = np.concatenate([centre - size / 2, centre + size / 2])
            found.append((float(scores[cell]), box, (points[cell] + corner) * stride))
    return found


def suppress(faces: list[Face]) -> list[Face]:
    """Without boxes that overlap a surer one; the largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if all(overlap(face.box, other.box) < _IOU_THRESHOLD for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.box.area)


def _shrunk(picture: Pixels, target_px: int) -> Pixels:
    """The picture at about twice the network's side: finding faces needs no more."""
    step = max(picture.shape[:2]) / (2 * target_px)
    if step <= 1:
        return picture
    size = (max(1, round(picture.shape[1] / step)), max(1, round(picture.shape[0] / step)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
