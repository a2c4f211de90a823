"""Native measures of NFIQ 2 to the 0 to 100 of a quality block in ISO/IEC 39794-4.

Source:
    ISO/IEC 29794-4:2024 as NFIQ 2.3 maps it (public domain); the table that NIST publishes with
    NFIQ 2.3 is reproduced cell by cell, see docs/bqat-quality.md.
"""

import math
import sys

_EPSILON = sys.float_info.epsilon
_FLOW_SPAN_DEG = 90.0 - 4.0
#: The range that a measure's native figures can have.
KNOWN_RANGES: dict[str, tuple[float, float]] = {
    "Mu": (0.0, 255.0),
    "MMB": (0.0, 255.0),
    "ImgProcROIArea_Mean": (0.0, 255.0),
    "FJFXPos_OCL_MinutiaeQuality_80": (0.0, 1.0),
    "FJFXPos_Mu_MinutiaeQuality_2": (0.0, 1.0),
    "OrientationMap_ROIFilter_CoherenceRel": (0.0, 1.0),
    "OrientationMap_ROIFilter_CoherenceSum": (0.0, 3150.0),
    "OCL_Bin10_Mean": (0.0, 1.0),
    "OCL_Bin10_StdDev": (0.0, 1.0),
    "LCS_Bin10_Mean": (0.0, 1.0),
    "LCS_Bin10_StdDev": (0.0, 1.0),
    "FDA_Bin10_Mean": (0.0, 1.0),
    "FDA_Bin10_StdDev": (0.0, 1.0),
    # Differences of 0 to 180 degrees, of which 4 count for nothing and 90 for one.
    "OF_Bin10_Mean": (-4.0 / _FLOW_SPAN_DEG, 176.0 / _FLOW_SPAN_DEG),
    "OF_Bin10_StdDev": (0.0, 1.0),
}
COUNTS = ("FingerJetFX_MinutiaeCount", "FingerJetFX_MinCount_COMMinRect200x200")
SIGMOIDS = ("RVUP_Bin10_Mean", "RVUP_Bin10_StdDev")
#: Every measure that has a place in a quality block.
MAPPED = (*KNOWN_RANGES, *COUNTS, *SIGMOIDS)


def to_quality_block(name: str, native: float) -> int:
    """One measure as 0 to 100.

    Raises:
        KeyError: the measure has no place in a quality block.
    """
    if name in COUNTS:
        return int(min(native, 100.0))
    if name in SIGMOIDS:
        return math.floor(100 / (1 + math.exp(min(700.0, (1 - native) / 0.5))) + 0.5)
    low, high = KNOWN_RANGES[name]
    # Beside a span of 255 the epsilon is nothing, and NFIQ 2 lets an all-white picture have 101.
    return max(0, min(100, math.floor(101 * ((native - low) / (high - low + _EPSILON)))))
