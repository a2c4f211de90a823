"""The gate on the pictures that `VEDETTE_ASSETS` points at: how many it takes, and how many not.

Measured with this file on 4,000 PatchCamelyon patches, 569 radiographs, 413 fundus photographs, 71
driver frames and 4 portraits:

| pictures | accepted |
|---|---|
| pathology patches | 99.2 % (3,967 of 4,000) |
| the same, blurred by one pixel or more | 0 % |
| radiographs, fundus photographs, driver frames, portraits | 0 % |
| pieces of 96 x 96 px of fundus photographs and portraits | 0 % |

Of the 33 patches that are refused 14 are bare glass or nearly so, 9 are out of focus, and most of
the others show ink, pigment or the edge of the glass.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.scancer.gate import Gate, check_patch
from shared.imaging import decode

ASSETS = Path(os.environ.get("VEDETTE_ASSETS", ""))

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(
        not os.environ.get("VEDETTE_ASSETS"), reason="VEDETTE_ASSETS does not name the pictures"
    ),
]


def pictures(pattern: str, every: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Decoded, in colour."""
    for path in sorted(ASSETS.glob(pattern))[::every]:
        pixels = decode(path.read_bytes()).pixels
        yield pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def share_accepted(gates: list[Gate]) -> float:
    """Of all."""
    assert gates
    return sum(gate.accepted for gate in gates) / len(gates)


def test_pathology_patches_are_accepted() -> None:
    """Nearly all; the docstring of this module says which not."""
    assert share_accepted([check_patch(p) for p in pictures("pcam/patches/*.jpg", 2)]) >= 0.99


@pytest.mark.parametrize("sigma_px", [1.0, 3.0])
def test_blurred_patches_are_refused(sigma_px: float) -> None:
    """From one pixel on."""
    blurred = [
        check_patch(np.asarray(cv2.GaussianBlur(p, (0, 0), sigma_px), np.uint8))
        for p in pictures("pcam/patches/*.jpg", 8)
    ]

    assert share_accepted(blurred) == 0


@pytest.mark.parametrize(
    ("pattern", "every"),
    [
        ("chest_xray/nih512/*.jpg", 4),
        ("idrid/grading960/*.jpg", 4),
        ("driver_frames/*.jpg", 2),
        ("face/*", 1),
    ],
)
def test_everything_else_is_refused(pattern: str, every: int) -> None:
    """Whole pictures, as somebody might send them by mistake."""
    assert share_accepted([check_patch(p) for p in pictures(pattern, every)]) == 0


@pytest.mark.parametrize(("pattern", "every"), [("idrid/grading960/*.jpg", 20), ("face/*", 1)])
def test_pieces_of_everything_else_are_refused(pattern: str, every: int) -> None:
    """A piece has neither the shape nor the setting that give a whole picture away."""
    gates = [
        check_patch(np.ascontiguousarray(picture[top : top + 96, left : left + 96]))
        for picture in pictures(pattern, every)
        for top in range(0, picture.shape[0] - 96, 96)
        for left in range(0, picture.shape[1] - 96, 96)
    ]

    assert share_accepted(gates) <= 0.002
