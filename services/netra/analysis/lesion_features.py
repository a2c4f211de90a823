"""What the lesion maps of one photograph say, in a few figures that a verdict can rest on."""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.domain import LesionType

_LEVELS = (0.2, 0.5, 0.8)
_SPOT_LEVEL = 0.4
_SPOT_PX = 6
_BRIGHTEST_PX = (12, 120)

FEATURE_NAMES = tuple(
    f"{lesion.value}:{figure}"
    for lesion in LesionType
    for figure in (
        *(f"area>{level}" for level in _LEVELS),
        "spots",
        *(f"brightest {count}" for count in _BRIGHTEST_PX),
    )
)


def lesion_features(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Describe the lesion maps of a photograph.

    Args:
        probability: `(4, h, w)`, 0 to 1, over the field of view at 1280 px.

    Returns:
        One figure per name of `FEATURE_NAMES`: logarithms of areas in pixels at three levels of
        probability and of the number of spots, then the mean logit of the brightest pixels.
    """
    return np.concatenate([_features(plane) for plane in probability])


def _features(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    areas = [np.log1p(float((plane > level).sum())) for level in _LEVELS]
    above = (plane > _SPOT_LEVEL).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    spots = np.log1p(float((stats[1:, cv2.CC_STAT_AREA] >= _SPOT_PX).sum()))
    ordered = np.partition(plane.ravel(), -_BRIGHTEST_PX[-1])[-_BRIGHTEST_PX[-1] :]
    ordered = np.clip(np.sort(ordered)[::-1].astype(np.float64), 1e-4, 1 - 1e-4)
    logits = np.log(ordered / (1 - ordered))
    return np.array([*areas, spots, *(logits[:count].mean() for count in _BRIGHTEST_PX)])
