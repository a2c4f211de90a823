"""From the native value of each ISO/IEC 29794-5 component to its quality, 0 (worst) to 100.

Source:
    ISO/IEC 29794-5:2025 with the parameters of its reference implementation, OFIQ 1.0.3
    (BSI-OFIQ/OFIQ-Project). The table that is published with it is reproduced cell by cell, see
    docs/bqat-quality.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


def rounded_away(value: float) -> float:
    """The nearest whole number; halves go away from zero."""
    return math.copysign(math.floor(abs(value) + 0.5), value)


def within(value: float) -> float:
    """`value` held between 0 and 100."""
    return min(100.0, max(0.0, value))


def logistic(value: float, centre: float, width: float) -> float:
    """`1 / (1 + exp((centre - value) / width))`, without overflow."""
    exponent = (centre - value) / width
    if exponent > 700:
        return 0.0
    return 1 / (1 + math.exp(exponent))


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """`h * (a + s * logistic((x - x0) / w))`, rounded and held within 0 and 100."""

    x0: float
    w: float
    h: float = 100.0
    a: float = 0.0
    s: float = 1.0

    def __call__(self, native: float) -> float:
        """The quality of a native value."""
        return within(rounded_away(self.h * (self.a + self.s * logistic(native, self.x0, self.w))))


def _share(native: float) -> float:
    return rounded_away(100 * (1 - native))


def _angle(native_deg: float) -> float:
    return rounded_away(100 * max(0.0, math.cos(math.radians(native_deg))) ** 2)


def _illumination(native: float) -> float:
    return rounded_away(100 * max(0.0, native) ** 0.3)


def _luminance_mean(native: float) -> float:
    low, high = logistic(native, 0.2, 0.05), logistic(native, 0.8, 0.05)
    return rounded_away(100 * low * (1 - high))


def _luminance_variance(native: float) -> float:
    sixty = 60 * max(0.0, native)
    return rounded_away(100 * math.sin(sixty / (sixty + 1) * math.pi))


def _over_exposure(native: float) -> float:
    return within(rounded_away(1 / (max(0.0, native) + 0.01)))


def _dynamic_range(native_bits: float) -> float:
    return within(rounded_away(12.5 * native_bits))


def _head_coverings(native: float) -> float:
    least, most, centre, width = 0.0, 0.95, 0.02, 0.1
    if native <= least:
        return 100.0
    if native >= most:
        return 0.0
    top = logistic(most, centre, width)
    reached = (top - logistic(native, centre, width)) / (top - logistic(least, centre, width))
    return rounded_away(100 * reached)


_head_size = Sigmoid(h=200, a=1, s=-1, x0=0, w=0.05)

#: Every component of the standard in the order of OFIQ's table.
CONVERSIONS: Mapping[str, Callable[[float], float]] = {
    "UnifiedQualityScore": Sigmoid(x0=23, w=2.6),
    "BackgroundUniformity": Sigmoid(h=190, a=1, s=-1, x0=10, w=100),
    "IlluminationUniformity": _illumination,
    "LuminanceMean": _luminance_mean,
    "LuminanceVariance": _luminance_variance,
    "UnderExposurePrevention": Sigmoid(h=120, a=0.832, s=-1, x0=0.92, w=0.05),
    "OverExposurePrevention": _over_exposure,
    "DynamicRange": _dynamic_range,
    "Sharpness": Sigmoid(h=1, a=-14, s=115, x0=-20, w=15),
    "CompressionArtifacts": Sigmoid(h=1, a=-0.0278, s=103, x0=0.3308, w=0.092),
    "NaturalColour": Sigmoid(h=200, a=1, s=-1, x0=0, w=10),
    "SingleFacePresent": _share,
    "EyesOpen": Sigmoid(x0=0.02, w=0.01),
    "MouthClosed": Sigmoid(a=1, s=-1, x0=0.2, w=0.06),
    "EyesVisible": _share,
    "MouthOcclusionPrevention": _share,
    "FaceOcclusionPrevention": _share,
    "InterEyeDistance": Sigmoid(x0=70, w=20),
    "HeadSize": lambda native: _head_size(abs(native - 0.45)),
    "LeftwardCropOfTheFaceImage": Sigmoid(x0=0.9, w=0.1),
    "RightwardCropOfTheFaceImage": Sigmoid(x0=0.9, w=0.1),
    "MarginAboveOfTheFaceImage": Sigmoid(x0=1.4, w=0.1),
    "MarginBelowOfTheFaceImage": Sigmoid(x0=1.8, w=0.1),
    "HeadPoseYaw": _angle,
    "HeadPosePitch": _angle,
    "HeadPoseRoll": _angle,
    "ExpressionNeutrality": Sigmoid(x0=-5000, w=5000),
    "NoHeadCoverings": _head_coverings,
}


def to_scalar(component: str, native: float) -> float:
    """The quality of one component; -1 where the native value is not a number.

    Raises:
        KeyError: the standard has no such component.
    """
    conversion = CONVERSIONS[component]
    return -1.0 if math.isnan(native) else conversion(native)
