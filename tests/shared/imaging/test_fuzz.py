"""Whatever the bytes are: a picture or one of our problems, and nothing else."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from shared.imaging import Limits, Picture, decode
from shared.problems import Problem
from tests.shared.imaging.builders import (
    dicom,
    dicom_dataset,
    dicom_file,
    encoded,
    exif_with_orientation,
    gif_of,
    gradient,
    jpeg_with_segment,
    lookup_table,
)

SMALL = Limits(max_pixels=4_000_000, max_inflated_bytes=16 * 1024 * 1024)
RGB = np.dstack([gradient(), gradient() // 2, 250 - gradient()])
WIDE = gradient(dtype="uint16") * 16


def _coded(transfer_syntax: str, image_format: str, **options: bool) -> bytes:
    dataset = dicom_dataset(gradient())
    dataset.PixelData = encapsulate([encoded(gradient(), image_format, **options)])
    dataset["PixelData"].VR = "OB"
    return dicom_file(dataset, transfer_syntax)


def _run_length_coded() -> bytes:
    dataset = dicom_dataset(WIDE)
    dicom_file(dataset)  # compress() asks what the pixels are in now
    dataset.compress(RLELossless, encoding_plugin="pydicom")
    return dicom_file(dataset, RLELossless)


SEEDS = (
    encoded(RGB, "PNG"),
    encoded(WIDE, "PNG"),
    encoded(RGB, "JPEG"),
    encoded(RGB, "JPEG", progressive=True),
    jpeg_with_segment(encoded(gradient(), "JPEG"), 0xE1, exif_with_orientation(7)),
    encoded(RGB, "TIFF"),
    encoded(WIDE, "TIFF", compression="tiff_lzw"),
    encoded(RGB, "TIFF", compression="jpeg"),
    encoded(gradient(), "TIFF", big_tiff=True),
    encoded(RGB, "BMP"),
    encoded(gradient(), "GIF"),
    gif_of(4),
    encoded(RGB, "WEBP"),
    encoded(RGB, "WEBP", lossless=True),
    encoded(RGB, "JPEG2000"),
    encoded(WIDE, "JPEG2000", no_jp2=True),
    encoded(RGB, "PPM"),
    dicom(WIDE, WindowCenter=2000, WindowWidth=4000, PixelSpacing=[0.1, 0.1]),
    dicom(RGB),
    dicom(
        gradient(),
        ModalityLUTSequence=lookup_table(0, list(range(256))),
        VOILUTSequence=lookup_table(0, list(range(256)), bits=8),
    ),
    dicom_file(dicom_dataset(WIDE), ImplicitVRLittleEndian),
    dicom_file(dicom_dataset(gradient()), ExplicitVRBigEndian),
    dicom_file(dicom_dataset(WIDE), DeflatedExplicitVRLittleEndian),
    _coded(JPEG2000Lossless, "JPEG2000", no_jp2=True),
    _coded(JPEGBaseline8Bit, "JPEG"),
    _run_length_coded(),
)
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(data: bytes) -> Picture | Problem:
    """What comes of decoding `data`; anything but a `Problem` fails the test."""
    try:
        picture = decode(data, SMALL)
    except Problem as problem:
        return problem
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.size > 0
    return picture


def test_every_seed_is_a_picture() -> None:
    """Else the mutations below would prove nothing."""
    assert [type(outcome(seed)) for seed in SEEDS] == [Picture] * len(SEEDS)


@FUZZ
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    """No magic, no picture."""
    outcome(data)


@FUZZ
@given(st.sampled_from(SEEDS), st.integers(1, 200), st.binary(max_size=400))
def test_a_real_beginning_and_random_bytes(seed: bytes, keep: int, tail: bytes) -> None:
    """The magic is right and the rest is not."""
    outcome(seed[:keep] + tail)


@FUZZ
@given(st.sampled_from(SEEDS), st.floats(0, 1))
def test_truncations(seed: bytes, fraction: float) -> None:
    """Uploads break off."""
    outcome(seed[: int(len(seed) * fraction)])


@settings(FUZZ, max_examples=600)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_flipped_bytes(seed: bytes, flips: list[tuple[float, int]]) -> None:
    """Anywhere in the file."""
    damaged = bytearray(seed)
    for fraction, value in flips:
        damaged[int(len(seed) * fraction)] = value
    outcome(bytes(damaged))


@settings(FUZZ, max_examples=600)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=4)), max_size=4),
)
def test_overwritten_headers(seed: bytes, writes: list[tuple[int, bytes]]) -> None:
    """Where lengths, counts and offsets are."""
    damaged = bytearray(seed)
    for at, value in writes:
        damaged[at : at + len(value)] = value
    outcome(bytes(damaged))
