"""Eyes: whether they are open, whether they wear glasses, and where they are by rules."""

import cv2
import numpy as np

from services.bqat.engines.face.geometry import Box, Pixels, Points, cut
from services.bqat.engines.face.landmarks import Landmarks
from services.bqat.engines.networks import LoadedNetwork

#: Lids nearer than this share of the eye's width are closed, as BQAT has it.
CLOSED_BELOW = 0.15
_EYE_MARGINS = (1.4, 1.8, 2.2)
_STRIP_WIDTH = 2.0
_RIGHT = ((60, 64), ((61, 67), (62, 66), (63, 65)))
_LEFT = ((72, 68), ((69, 75), (70, 74), (71, 73)))
_RIGHT_PART, _LEFT_PART = (0.12, 0.3, 0.45, 0.5), (0.55, 0.3, 0.88, 0.5)


def openness(landmarks: Landmarks, *, right: bool) -> float:
    """The mean distance of the lids over the distance of the eye's corners."""
    corners, pairs = _RIGHT if right else _LEFT
    points = landmarks.points
    lids = [float(np.hypot(*(points[above] - points[below]))) for above, below in pairs]
    width = float(np.hypot(*(points[corners[0]] - points[corners[1]])))
    return float(np.mean(lids)) / max(width, 1e-6)


def is_closed(
    network: LoadedNetwork | None, picture: Pixels, landmarks: Landmarks, *, right: bool
) -> bool:
    """Whether an eye is closed: the network's mean over three margins, else by its lids."""
    if network is None:
        return openness(landmarks, right=right) < CLOSED_BELOW
    (outer, inner), _ = _RIGHT if right else _LEFT
    first, second = landmarks.points[outer], landmarks.points[inner]
    width = max(1.0, float(np.hypot(*(first - second))))
    middle = (first + second) / 2
    size = (network.side_px[1], network.side_px[0])
    place = network.package.manifest.labels.index("open")
    chances = []
    for margin in _EYE_MARGINS:
        side = (margin * width, margin * width)
        logits = network.answer(
            cut(picture, (float(middle[0]), float(middle[1])), side, size).pixels
        ).astype(np.float64)
        exponents = np.exp(logits - logits.max())
        chances.append(float(exponents[place] / exponents.sum()))
    return float(np.mean(chances)) < 0.5


def wears_glasses(network: LoadedNetwork | None, picture: Pixels, landmarks: Landmarks) -> bool:
    """Whether the strip of the eyes wears glasses; by an edge on the bridge without the network."""
    right, left = landmarks.right_eye, landmarks.left_eye
    across = left - right
    distance = max(1.0, float(np.hypot(*across)))
    middle = (right + left) / 2
    centre = (float(middle[0]), float(middle[1]))
    angle = float(np.arctan2(across[1], across[0]))
    if network is None:
        side = (0.3 * distance, 0.4 * distance)
        patch = cut(picture, centre, side, (24, 32), angle).pixels
        gray = np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.uint8)
        edges = cv2.Canny(cv2.GaussianBlur(gray, (3, 3), 0), 100, 200)
        return bool(edges[:, edges.shape[1] // 2].any())
    side = (_STRIP_WIDTH * distance, _STRIP_WIDTH * distance / 2)
    size = (network.side_px[1], network.side_px[0])
    return float(network.answer(cut(picture, centre, side, size, angle).pixels)[0]) < 0


def eyes_by_rules(gray: Pixels, box: Box) -> Points | None:
    """The darkest spots where eyes should be in a face's box: right, then left; nothing learned."""
    found = []
    for part in (_RIGHT_PART, _LEFT_PART):
        left, right = (int(box.left + share * box.width) for share in (part[0], part[2]))
        top, bottom = (int(box.top + share * box.height) for share in (part[1], part[3]))
        left, top = max(0, left), max(0, top)
        region = gray[top:bottom, left:right]
        if min(region.shape, default=0) < 3:
            return None
        blurred = cv2.GaussianBlur(region, (0, 0), max(0.8, box.width / 40))
        _, _, place, _ = cv2.minMaxLoc(blurred)
        found.append((left + place[0], top + place[1]))
    return np.array(found, np.float64)
