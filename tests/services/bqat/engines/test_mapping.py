"""Native measures of NFIQ 2 in the quality block of ISO/IEC 39794-4, worked out by hand."""

import pytest

from services.bqat.engines.fingerprint.mapping import MAPPED, to_quality_block

VECTORS = [
    ("Mu", 0, 0),
    ("Mu", 127.5, 50),
    ("Mu", 255, 100),
    ("MMB", 100, 39),
    ("ImgProcROIArea_Mean", 200, 79),
    ("OCL_Bin10_Mean", 0.5, 50),
    ("OCL_Bin10_StdDev", 0.1, 10),
    ("LCS_Bin10_Mean", 1, 100),
    ("LCS_Bin10_StdDev", 0.099, 9),
    ("FDA_Bin10_Mean", 0.75, 75),
    ("FDA_Bin10_StdDev", 0, 0),
    # -4/86 is the least, 176/86 the most; 86/86 is half of that span and 4/180 more.
    ("OF_Bin10_Mean", -4 / 86, 0),
    ("OF_Bin10_Mean", 1.0, 50),
    ("OF_Bin10_Mean", 0.0, 2),
    ("OF_Bin10_StdDev", 0.3, 30),
    ("OrientationMap_ROIFilter_CoherenceRel", 0.9, 90),
    ("OrientationMap_ROIFilter_CoherenceSum", 1575, 50),
    ("FJFXPos_OCL_MinutiaeQuality_80", 0.25, 25),
    ("FJFXPos_Mu_MinutiaeQuality_2", 0.6, 60),
    ("FingerJetFX_MinutiaeCount", 57, 57),
    ("FingerJetFX_MinutiaeCount", 170, 100),
    ("FingerJetFX_MinCount_COMMinRect200x200", 12, 12),
    ("RVUP_Bin10_Mean", 1, 50),
    ("RVUP_Bin10_Mean", 1.5, 73),
    ("RVUP_Bin10_StdDev", 0.5, 27),
]


@pytest.mark.parametrize(("name", "native", "mapped"), VECTORS)
def test_a_measure_maps_as_the_standard_says(name: str, native: float, mapped: int) -> None:
    assert to_quality_block(name, native) == mapped


def test_every_mapped_measure_has_a_vector() -> None:
    assert {name for name, _, _ in VECTORS} == set(MAPPED)


def test_a_histogram_bin_has_no_place_in_a_quality_block() -> None:
    with pytest.raises(KeyError):
        to_quality_block("OCL_Bin10_3", 7)
