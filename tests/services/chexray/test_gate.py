"""The gate on pictures that are made here."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.chexray.radiograph import draw_radiograph
from services.chexray.domain import GATE_SENTENCES, GateReason
from services.chexray.gate import judge
from shared.imaging import DicomFacts, Picture, decode

SIDE_PX = 512


def as_picture(pixels: NDArray[np.uint8], dicom: DicomFacts | None = None) -> Picture:
    """Pixels as a decoded picture."""
    return Picture(pixels, "png", pixels.shape[1], pixels.shape[0], dicom)


def facts(
    modality: str | None = "DX", body_part: str | None = None, view: str | None = None
) -> DicomFacts:
    """What a DICOM file says."""
    return DicomFacts(
        modality=modality,
        body_part=body_part,
        view_position=view,
        patient_orientation=(),
        photometric="MONOCHROME2",
        pixel_spacing_mm=None,
        spacing_at_detector=False,
        burned_in_annotation=None,
        rows=SIDE_PX,
        columns=SIDE_PX,
        bits_stored=8,
        frames=1,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sop_class_uid=None,
        study_instance_uid=None,
        series_instance_uid=None,
        sop_instance_uid=None,
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side_px", [256, 512, 1024])
def test_a_drawing_of_a_chest_is_accepted(seed: int, side_px: int) -> None:
    """Two dark lungs beside a bright midline, at any size."""
    assert judge(as_picture(draw_radiograph(side_px, seed))).accepted


def test_a_chest_saved_in_colour_without_colours_is_accepted() -> None:
    """Some viewers export RGB."""
    gray = draw_radiograph(SIDE_PX)

    assert judge(as_picture(np.dstack([gray, gray, gray]))).accepted


@pytest.mark.parametrize("quality", [30, 95])
def test_compression_changes_nothing(quality: int) -> None:
    """A JPEG from a telephone is grainy."""
    file = io.BytesIO()
    Image.fromarray(draw_radiograph(SIDE_PX)).save(file, "JPEG", quality=quality)

    assert judge(decode(file.getvalue())).accepted


def test_a_negative_is_refused_with_advice() -> None:
    """MONOCHROME1 without its tag: the network would read the opposite."""
    verdict = judge(as_picture(255 - draw_radiograph(SIDE_PX)))

    assert verdict.reasons == (GateReason.INVERTED,)
    assert "bone bright" in verdict.sentences[0]


@pytest.mark.parametrize("turns", [1, 3])
def test_a_chest_on_its_side_is_accepted_and_its_turn_is_known(turns: int) -> None:
    """One picture in fourteen of the NIH's lies on its side."""
    lying = np.ascontiguousarray(np.rot90(draw_radiograph(SIDE_PX), -turns))
    verdict = judge(as_picture(lying))

    assert verdict.accepted
    assert verdict.quarter_turns == turns


def blank() -> NDArray[np.uint8]:
    """Nothing."""
    return np.full((SIDE_PX, SIDE_PX), 128, np.uint8)


def noise() -> NDArray[np.uint8]:
    """Everything."""
    return np.random.default_rng(1).integers(0, 256, (SIDE_PX, SIDE_PX), np.uint8)


def gradient() -> NDArray[np.uint8]:
    """From dark to light."""
    row = np.linspace(0, 255, SIDE_PX)
    return np.tile(row, (SIDE_PX, 1)).astype(np.uint8)


def disc() -> NDArray[np.uint8]:
    """What a fundus photograph is without its colours."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX - 0.5
    return np.where(np.hypot(x, y) < 0.45, 220 - 400 * np.hypot(x, y), 0).astype(np.uint8)


def text() -> NDArray[np.uint8]:
    """A scanned page."""
    page = Image.new("L", (SIDE_PX, SIDE_PX), 255)
    draw = ImageDraw.Draw(page)
    for row in range(20, SIDE_PX, 20):
        draw.text((20, row), "The quick brown fox jumps over the lazy dog. " * 2, fill=0)
    return np.asarray(page)


def stripes() -> NDArray[np.uint8]:
    """A bright bar between two dark ones, and nothing else of a chest."""
    columns = np.zeros(SIDE_PX, np.uint8)
    columns[SIDE_PX // 3 : 2 * SIDE_PX // 3] = 255
    return np.tile(columns, (SIDE_PX, 1))


def one_lung() -> NDArray[np.uint8]:
    """The right half of a chest is white."""
    gray = draw_radiograph(SIDE_PX)
    gray[:, SIDE_PX // 2 :] = np.maximum(gray[:, SIDE_PX // 2 :], 190)
    return gray


def clouds() -> NDArray[np.uint8]:
    """Smooth, and without any order."""
    grain = np.random.default_rng(3).normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)
    smooth = cv2.GaussianBlur(grain, (0, 0), 30)
    return np.asarray(cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX), np.uint8)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (blank, GateReason.LOW_CONTRAST),
        (noise, GateReason.NOT_SMOOTH),
        (gradient, GateReason.NO_LUNG_FIELDS),
        (disc, GateReason.NO_LUNG_FIELDS),
        (text, GateReason.NOT_SMOOTH),
        (stripes, GateReason.FEW_GREY_LEVELS),
        (one_lung, GateReason.NO_LUNG_FIELDS),
        (clouds, GateReason.NO_LUNG_FIELDS),
    ],
)
def test_what_is_no_chest_is_refused(make: object, reason: GateReason) -> None:
    """With the reason that a person would give."""
    assert callable(make)
    assert reason in judge(as_picture(make())).reasons


def test_colour_is_refused() -> None:
    """However much like a chest it is."""
    gray = draw_radiograph(SIDE_PX)
    tinted = np.dstack([gray, gray // 2, gray // 3])

    assert GateReason.COLOUR in judge(as_picture(tinted)).reasons


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((40, 40), GateReason.TOO_SMALL), ((200, 500), GateReason.ASPECT)],
)
def test_size_and_aspect_are_those_of_a_film(shape: tuple[int, int], reason: GateReason) -> None:
    """A strip is no chest."""
    pixels = cv2.resize(draw_radiograph(SIDE_PX), shape[::-1])

    assert reason in judge(as_picture(np.asarray(pixels, np.uint8))).reasons


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (facts(modality="CT"), GateReason.NOT_A_RADIOGRAPH),
        (facts(body_part="EXTREMITY"), GateReason.NOT_A_CHEST),
        (facts(body_part="CHEST", view="LL"), GateReason.NOT_FRONTAL),
    ],
)
def test_what_a_dicom_file_says_counts(said: DicomFacts, reason: GateReason) -> None:
    """Even where the pixels look like a chest."""
    assert judge(as_picture(draw_radiograph(SIDE_PX), said)).reasons == (reason,)


@pytest.mark.parametrize(
    "said",
    [facts(modality="CR", body_part="CHEST", view="PA"), facts(modality=None, view="AP")],
)
def test_silence_and_a_chest_speak_for_it(said: DicomFacts) -> None:
    """Anonymised files say little."""
    assert judge(as_picture(draw_radiograph(SIDE_PX), said)).accepted


def test_every_reason_has_a_sentence() -> None:
    """Nobody is sent away with a slug alone."""
    assert set(GATE_SENTENCES) == set(GateReason)


@settings(max_examples=60, deadline=None)
@given(
    height_px=st.integers(1, 300),
    width_px=st.integers(1, 300),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1),
    blur=st.floats(0.1, 40),
)
def test_any_pixels_get_a_verdict(
    height_px: int, width_px: int, channels: int, seed: int, blur: float
) -> None:
    """No shape, no constant and no noise breaks the rules."""
    shape = (height_px, width_px) if channels == 1 else (height_px, width_px, 3)
    grain = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    pixels = np.asarray(cv2.GaussianBlur(grain, (0, 0), blur), np.uint8)

    verdict = judge(as_picture(pixels.reshape(shape)))

    assert verdict.accepted == (not verdict.reasons)
