"""BIQT-Iris' own measures, which are in no standard: contrast, focus and differences of gray.

Source:
    mitre/biqt-iris 0.4: contrast is the standard deviation, sharpness the mean response of an
    8 x 8 kernel at every fourth pixel; limits of its normalisation as published.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.iris.metrics import levels
from services.bqat.engines.iris.segmentation import Eye

Gray = NDArray[np.uint8]

_KERNEL_PX, _MARGIN_PX, _EVERY_PX = 8, 16, 4


def focus_response(gray: Gray) -> float:
    """The mean absolute response of the focus kernel, in whole numbers."""
    height, width = gray.shape
    kernel = np.full((_KERNEL_PX, _KERNEL_PX), -1.0)
    kernel[2:6, 2:6] = 3.0
    filtered = cv2.filter2D(gray.astype(np.float64), cv2.CV_64F, kernel, anchor=(4, 4))
    responses = filtered[
        _MARGIN_PX : height - _MARGIN_PX : _EVERY_PX, _MARGIN_PX : width - _MARGIN_PX : _EVERY_PX
    ]
    return float(int(np.abs(responses).mean())) if responses.size else 0.0


def biqt_measures(gray: Gray, eye: Eye | None) -> dict[str, float]:
    """BIQT-Iris' measures and their normalised forms; without an eye only the picture's own."""
    contrast, focus = float(int(gray.std())), focus_response(gray)
    found = {"contrast": contrast, "sharpness": focus}
    normalised = {
        "normalized_contrast": _ramp(contrast, 30, 50),
        "normalized_sharpness": _ramp(focus, 60, 80),
    }
    if eye is None:
        return found | normalised
    grays = levels(gray, eye, compat=False)
    diameter = 2 * eye.iris.radius
    ring = np.pi * (eye.iris.radius**2 - eye.pupil.radius**2)
    visible = max(0.0, 1 - float(eye.covered.sum()) / max(1.0, ring))
    sclera, pupil = grays.sclera - grays.iris, grays.around - grays.pupil
    seen = eye.pupil_radii[eye.pupil_radii > 0]
    deviation = float(np.abs(seen / seen.mean() - 1).mean()) if len(seen) else 0.0
    found |= {
        "iris_diameter": diameter,
        "percent_visible_iris": 100 * visible,
        "iris_pupil_gs": pupil,
        "iris_sclera_gs": sclera,
        "pupil_circularity_avg_deviation": deviation,
    }
    normalised |= {
        "normalized_iris_diameter": _diameter(diameter),
        "normalized_iris_pupil_gs": _step(pupil, 15, 30, 0.85, below=0.85),
        "normalized_iris_sclera_gs": _step(sclera, 20, 30, 0.8),
        "normalized_percent_visible_iris": _step(visible, 0.4, 0.7, 0.7),
    }
    return found | normalised


def biqt_quality(own: Mapping[str, float], iso: Mapping[str, float]) -> float:
    """BIQT-Iris' overall quality, 0 to 100: a product, of which 0.8 is 80 and the rest 20.

    Its margin factor is not published in figures; the standard's margin stands in.
    """
    ratio = 1.0 if 20 <= iso["iris_pupil_ratio"] <= 60 else 0.0
    product = (
        own["normalized_contrast"]
        * own["normalized_sharpness"]
        * own["normalized_iris_diameter"]
        * own["normalized_iris_sclera_gs"]
        * own["normalized_percent_visible_iris"]
        * own["normalized_iris_pupil_gs"]
        * iso["margin_adequacy"]
        / 100
        * ratio
    )
    return 100 * product if product <= 0.8 else 80 + 20 * (product - 0.8) / 0.2


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _step(value: float, low: float, high: float, start: float, *, below: float = 0.0) -> float:
    if value < low:
        return below
    return start + (1 - start) * _ramp(value, low, high)


def _diameter(value: float) -> float:
    if value <= 350:
        return _ramp(value, 160, 200)
    return 1 - _ramp(value, 350, 400)
