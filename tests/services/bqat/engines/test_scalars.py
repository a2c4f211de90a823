"""Conversions of ISO/IEC 29794-5, at points whose qualities can be worked out by hand."""

import math

import pytest

from services.bqat.engines.face.scalars import CONVERSIONS, rounded_away, to_scalar

# At its centre a logistic is one half, and one width further 0.73106.
VECTORS = [
    ("UnifiedQualityScore", 23, 50),
    ("UnifiedQualityScore", 25.6, 73),
    ("BackgroundUniformity", 10, 95),
    ("BackgroundUniformity", 110, 51),
    ("IlluminationUniformity", 0, 0),
    ("IlluminationUniformity", 0.5, 81),
    ("IlluminationUniformity", 1, 100),
    ("LuminanceMean", 0.2, 50),
    ("LuminanceMean", 0.5, 100),
    ("LuminanceMean", 0.8, 50),
    ("LuminanceVariance", 0, 0),
    ("LuminanceVariance", 1 / 180, 71),
    ("LuminanceVariance", 1 / 60, 100),
    ("UnderExposurePrevention", 0, 100),
    ("UnderExposurePrevention", 0.92, 40),
    ("OverExposurePrevention", 0, 100),
    ("OverExposurePrevention", 0.09, 10),
    ("OverExposurePrevention", 0.99, 1),
    ("DynamicRange", 4, 50),
    ("DynamicRange", 8, 100),
    ("DynamicRange", 9, 100),
    ("Sharpness", -20, 44),
    ("Sharpness", -200, 0),
    ("CompressionArtifacts", 0.3308, 51),
    ("CompressionArtifacts", 1.0, 100),
    ("NaturalColour", 0, 100),
    ("NaturalColour", 10, 54),
    ("SingleFacePresent", 0.25, 75),
    ("EyesOpen", 0.02, 50),
    ("EyesOpen", 0.03, 73),
    ("MouthClosed", 0.2, 50),
    ("MouthClosed", 0.26, 27),
    ("EyesVisible", 0.1, 90),
    ("MouthOcclusionPrevention", 1, 0),
    ("FaceOcclusionPrevention", 0, 100),
    ("InterEyeDistance", 70, 50),
    ("InterEyeDistance", 90, 73),
    ("HeadSize", 0.45, 100),
    ("HeadSize", 0.5, 54),
    ("HeadSize", 0.4, 54),
    ("LeftwardCropOfTheFaceImage", 0.9, 50),
    ("RightwardCropOfTheFaceImage", 1.0, 73),
    ("MarginAboveOfTheFaceImage", 1.4, 50),
    ("MarginBelowOfTheFaceImage", 1.8, 50),
    ("HeadPoseYaw", 0, 100),
    ("HeadPoseYaw", 60, 25),
    ("HeadPosePitch", -45, 50),
    ("HeadPoseRoll", 120, 0),
    ("ExpressionNeutrality", -5000, 50),
    ("NoHeadCoverings", 0, 100),
    ("NoHeadCoverings", 0.02, 91),
    ("NoHeadCoverings", 0.95, 0),
]


@pytest.mark.parametrize(("component", "native", "quality"), VECTORS)
def test_a_component_converts_as_the_standard_says(
    component: str, native: float, quality: float
) -> None:
    assert to_scalar(component, native) == quality


def test_every_component_has_a_vector() -> None:
    assert {component for component, _, _ in VECTORS} == set(CONVERSIONS)
    assert len(CONVERSIONS) == 28


def test_halves_are_rounded_away_from_zero() -> None:
    """Python rounds them to the even neighbour, the reference does not."""
    assert [rounded_away(value) for value in (0.5, 1.5, 2.5, -0.5, -2.5)] == [1, 2, 3, -1, -3]


@pytest.mark.parametrize("component", CONVERSIONS)
@pytest.mark.parametrize("native", [-1e12, -1.0, 0.0, 1e-9, 1e12])
def test_no_native_value_leads_out_of_the_scale(component: str, native: float) -> None:
    """Native values come from files that anybody wrote."""
    assert math.isfinite(to_scalar(component, native))


def test_what_is_no_number_was_not_assessed() -> None:
    assert to_scalar("DynamicRange", math.nan) == -1
