"""Pixels become the network's input as the manifest says, to the figure."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import decode
from shared.inference import compile_preprocess
from shared.inference.manifest import InputSpec


def spec(**changes: Any) -> InputSpec:
    """An 8 x 8 RGB input without normalisation, with some members changed."""
    members: dict[str, Any] = {
        "name": "image",
        "colour": "RGB",
        "size": (8, 8),
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return InputSpec(**(members | changes))


def gray_spec(**changes: Any) -> InputSpec:
    """The same for one channel."""
    return spec(**({"colour": "GRAY", "mean": (0.0,), "std": (1.0,)} | changes))


def colours() -> NDArray[np.uint8]:
    """`(8, 8, 3)`, each channel of another constant."""
    return np.full((8, 8, 3), (10, 20, 30), np.uint8)


def test_normalisation_follows_the_formula() -> None:
    """((x * scale) - mean) / std, per channel, in float32."""
    compiled = compile_preprocess(
        spec(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]

    tensor = compiled(pixels)

    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor, expected.transpose(2, 0, 1), atol=2e-6)


def test_the_torchxrayvision_range_is_met() -> None:
    """0 is -1024 and 255 is 1024: arXiv:2111.00595."""
    compiled = compile_preprocess(gray_spec(scale=2048 / 255, mean=(1024.0,), size=(1, 2)))

    np.testing.assert_allclose(
        compiled(np.array([[0, 255]], np.uint8)), [[[-1024, 1024]]], atol=1e-3
    )


@pytest.mark.parametrize(("colour", "order"), [("RGB", (10, 20, 30)), ("BGR", (30, 20, 10))])
def test_channels_come_in_the_order_of_the_network(colour: str, order: tuple[int, ...]) -> None:
    tensor = compile_preprocess(spec(colour=colour))(colours())

    assert tuple(tensor[:, 0, 0]) == order


def test_a_gray_picture_fills_three_channels() -> None:
    tensor = compile_preprocess(spec())(np.full((8, 8), 7, np.uint8))

    assert tensor.shape == (3, 8, 8)
    assert (tensor == 7).all()


def test_colours_become_gray_by_their_luma() -> None:
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B."""
    tensor = compile_preprocess(gray_spec())(colours())

    np.testing.assert_allclose(tensor, 0.299 * 10 + 0.587 * 20 + 0.114 * 30, atol=0.51)


def test_stretch_uses_the_whole_picture_antialiased() -> None:
    """Without the antialias the network would see a different picture: 3.26 of 255 apart."""
    pixels = np.random.default_rng(1).integers(0, 256, (400, 300), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))

    tensor = compile_preprocess(gray_spec())(pixels)

    assert float(np.abs(tensor[0] - expected).mean()) <= 1.0


def test_a_large_smooth_picture_deviates_little_from_the_plain_resize() -> None:
    """Averaging blocks first is faster; it must stay within 0.3 of 255."""
    rows, columns = np.mgrid[0:2000, 0:2000]
    pixels = (127 + 90 * np.sin(rows / 37) * np.cos(columns / 53)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))

    tensor = compile_preprocess(gray_spec(size=(224, 224)))(pixels)

    assert float(np.abs(tensor[0] - expected).mean()) <= 0.3


def test_fit_keeps_the_aspect_and_pads_with_the_mean() -> None:
    """The padding is 0 to the network: neither dark nor bright."""
    compiled = compile_preprocess(gray_spec(resize="fit", mean=(100.0,)))

    tensor = compiled(np.full((40, 80), 200, np.uint8))[0]

    assert (tensor[2:6] == 100).all()
    assert (tensor[:2] == 0).all()
    assert (tensor[6:] == 0).all()


def test_crop_sees_the_centre() -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 50

    tensor = compile_preprocess(gray_spec(resize="crop"))(pixels)

    assert (tensor == 50).all()


def test_the_framing_says_what_the_network_sees() -> None:
    """Heat maps are laid back over the picture by it."""
    crop = compile_preprocess(gray_spec(resize="crop")).framing(8, 24)
    fit = compile_preprocess(gray_spec(resize="fit")).framing(40, 80)

    assert crop.source_xyxy_px == (8, 0, 16, 8)
    assert crop.target_xyxy_px == (0, 0, 8, 8)
    assert fit.source_xyxy_px == (0, 0, 80, 40)
    assert fit.target_xyxy_px == (0, 2, 8, 6)


def test_equalise_spreads_the_histogram() -> None:
    pixels = np.tile(np.array([100, 101, 102, 103], np.uint8), (8, 2))

    tensor = compile_preprocess(gray_spec(equalise=True))(pixels)

    assert (tensor.min(), tensor.max()) == (0, 255)


def test_the_picture_given_is_not_changed() -> None:
    pixels = colours()
    compile_preprocess(spec(scale=1 / 255))(pixels)

    assert (pixels == colours()).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8), np.uint8),
    ],
)
def test_anything_but_a_picture_is_refused(pixels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        compile_preprocess(spec())(pixels)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    resize=st.sampled_from(["stretch", "fit", "crop"]),
    colour=st.sampled_from(["RGB", "BGR", "GRAY"]),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    gray=st.booleans(),
)
def test_any_picture_becomes_an_input(
    height: int, width: int, resize: str, colour: str, size: tuple[int, int], gray: bool
) -> None:
    """Whatever the aspect, the input has the network's shape, and a flat picture stays flat."""
    channels = 1 if colour == "GRAY" else 3
    compiled = compile_preprocess(
        spec(colour=colour, size=size, resize=resize, mean=(0.0,) * channels, std=(1.0,) * channels)
    )
    pixels = np.full((height, width) if gray else (height, width, 3), 80, np.uint8)

    tensor = compiled(pixels)
    left, top, right, bottom = compiled.framing(height, width).target_xyxy_px

    assert tensor.shape == (channels, *size)
    assert (tensor[:, top:bottom, left:right] == 80).all()


SPECS = [
    spec(size=(40, 40)),
    spec(size=(30, 50), resize="crop"),
    spec(size=(30, 50), resize="fit"),
    spec(size=(40, 40), colour="BGR", mean=(1.0, 2.0, 3.0), scale=1 / 255),
    gray_spec(size=(40, 40)),
    gray_spec(size=(30, 50), resize="fit", mean=(0.5,), std=(0.25,), scale=1 / 255),
    spec(size=(40, 40), equalise=True),
    spec(size=(90, 70), resize="crop"),
]


def file_of(mode: str, size_px: tuple[int, int], kind: str, orientation: int) -> bytes:
    """A picture of noise, turned by its EXIF orientation."""
    noise = np.random.default_rng(3).integers(0, 256, (size_px[1], size_px[0], 4), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("of", SPECS, ids=lambda of: f"{of.colour}-{of.resize}-{of.size}")
@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG")],
)
@pytest.mark.parametrize(
    ("size_px", "orientation"),
    [((90, 70), 1), ((90, 70), 6), ((40, 40), 1), ((300, 200), 1), ((301, 97), 3), ((5, 9), 1)],
)
def test_a_picture_that_the_decoder_resizes_is_the_same_to_the_last_bit(
    of: InputSpec, mode: str, kind: str, size_px: tuple[int, int], orientation: int
) -> None:
    """It is faster, and nothing else."""
    compiled = compile_preprocess(of)
    data = file_of(mode, size_px, kind, orientation)

    whole = decode(data, target_px=compiled.target_px)
    resized = decode(data, target_px=compiled.target_px, fit=compiled.fit)

    np.testing.assert_array_equal(compiled(resized.pixels), compiled(whole.pixels))
    assert (resized.width_px, resized.height_px) == (whole.width_px, whole.height_px)
    assert resized.notes == whole.notes
