"""Real and hostile files that the repository does not hold; see VEDETTE_ASSETS."""

import os
from pathlib import Path

import numpy as np
import pytest

from shared.imaging import Picture, UnsupportedImage, decode
from tests.shared.imaging.cost import measure

ASSETS = Path(os.environ.get("VEDETTE_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not ASSETS.is_dir(), reason="VEDETTE_ASSETS names no folder of test files"),
]


def read(name: str) -> Picture:
    """Decode one of the DICOM files."""
    return decode((ASSETS / "dicom" / name).read_bytes())


def test_a_monochrome_one_chest_comes_out_with_dark_lungs() -> None:
    """CR, 15 bits, JPEG 2000: lungs darker than mediastinum, air around the shoulders darkest."""
    picture = read("RG1_J2KI.dcm")

    pixels, facts = picture.pixels.astype(float), picture.dicom
    right_lung, left_lung = pixels[450:650, 450:650].mean(), pixels[450:650, 1250:1450].mean()
    mediastinum, beside_neck = pixels[900:1300, 880:980].mean(), pixels[60:120, 20:120].mean()
    assert picture.pixels.shape == (1955, 1841)
    assert max(right_lung, left_lung) + 40 < mediastinum
    assert beside_neck < min(right_lung, left_lung)
    assert facts is not None
    assert (facts.photometric, facts.modality, facts.body_part) == ("MONOCHROME1", "CR", "CHEST")
    assert (facts.view_position, facts.bits_stored) == ("PA", 15)
    assert facts.patient_orientation == ("L", "F")
    assert facts.pixel_spacing_mm is None


def test_a_leg_is_bright_in_its_bones() -> None:
    """CR, 10 bits in 16: bone brighter than soft tissue, soft tissue brighter than air."""
    pixels = read("RG3_J2KI.dcm").pixels.astype(float)

    bone, air = pixels[400:600, 840:880].mean(), pixels[400:600, 520:560].mean()
    assert pixels.shape == (1760, 1760)
    assert air < 60
    assert bone > air + 100


def test_an_eight_bit_radiograph_without_a_window_is_shown_as_it_is() -> None:
    """DX, MONOCHROME2: the stored values are the pixels."""
    data = (ASSETS / "dicom" / "nih_dx_no_finding.dcm").read_bytes()

    picture = decode(data)

    np.testing.assert_array_equal(
        picture.pixels.ravel(), np.frombuffer(data[-(1024 * 1024) :], dtype=np.uint8)
    )


@pytest.mark.parametrize(
    "name",
    ["SC_rgb.dcm", "SC_rgb_expb.dcm", "SC_rgb_2frame.dcm", "SC_ybr_full_uncompressed.dcm"],
)
def test_colour_bars_come_out_in_their_colours(name: str) -> None:
    """Ten bars from red to white, in every encoding of the same picture."""
    bars = read(name).pixels[5::10, 50].astype(int)

    expected = [
        (255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255),
        (128, 128, 255), (0, 0, 0), (64, 64, 64), (192, 192, 192), (255, 255, 255),
    ]  # fmt: skip
    np.testing.assert_allclose(bars, expected, atol=5)


def test_a_modality_table_gives_the_test_pattern_its_steps() -> None:
    """SMPTE pattern: the 0 % patch is black, the 100 % patch white, 50 % between."""
    pixels = read("mlut_18.dcm").pixels.astype(int)

    black, twenty, white = pixels[335, 130], pixels[238, 150], pixels[335, 372]
    half = pixels[180, 25]
    np.testing.assert_allclose([black, twenty, half, white], [0, 51, 127.5, 255], atol=1)


def test_a_parametric_map_is_refused() -> None:
    """Its floats are measurements."""
    with pytest.raises(UnsupportedImage, match="map of measurements"):
        read("parametric_map_float.dcm")


def test_every_hostile_file_is_a_picture_or_a_problem_and_cheap() -> None:
    """134 files: none takes two seconds, and together they do not add 100 MB."""
    cost = measure(ASSETS / "hostile")

    outcomes = {file.outcome for file in cost.files.values()}
    assert len(cost.files) >= 130
    assert max(file.seconds for file in cost.files.values()) < 2
    assert cost.grown_mb < 100
    assert outcomes <= {"picture", "unreadable-image", "image-too-large", "unsupported-image"}


def test_radiographs_of_the_nih_are_read() -> None:
    """1024 x 1024; some have four channels."""
    shapes = {
        decode(path.read_bytes()).pixels.shape[:2]
        for path in sorted((ASSETS / "chest_xray" / "nih_full").glob("*.png"))
    }

    assert shapes == {(1024, 1024)}
