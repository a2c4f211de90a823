"""The gate on the pictures that `VEDETTE_ASSETS` points at: how many it takes, and how many not.

Measured on 569 NIH radiographs at 512 px, 8 originals at 1024 px, 413 fundus photographs, 1,000
pathology patches, 71 driver frames, 4 portraits and 134 hostile files:

| pictures | accepted | accepted without their colours |
|---|---|---|
| NIH 512 px | 98.4 % (560 of 569; 38 of them lie on their side) | – |
| NIH originals | 100 % | – |
| CR and DX chest DICOM | 100 % | – |
| NIH 512 px, inverted | 0 % (98.2 % are told so) | – |
| fundus photographs | 0 % | 0.7 % |
| pathology patches, driver frames, portraits, hostile files | 0 % | 0 % |

Of the nine radiographs that are refused two are negatives in the data set itself; the others have
a lung white, or are cropped to half a chest.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.chexray.domain import GateReason, GateVerdict
from services.chexray.gate import judge
from shared.imaging import Picture, decode
from shared.problems import Problem

ASSETS = Path(os.environ.get("VEDETTE_ASSETS", ""))

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(
        not os.environ.get("VEDETTE_ASSETS"), reason="VEDETTE_ASSETS does not name the pictures"
    ),
]


def pictures(pattern: str, every: int = 1) -> Iterator[Picture]:
    """The pictures that decode."""
    for path in sorted(ASSETS.glob(pattern))[::every]:
        try:
            yield decode(path.read_bytes(), target_px=224)
        except Problem:
            continue


def share_accepted(verdicts: list[GateVerdict]) -> float:
    """Of all."""
    assert verdicts
    return sum(verdict.accepted for verdict in verdicts) / len(verdicts)


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("chest_xray/nih512/*.jpg", 0.98),
        ("chest_xray/nih_full/*.png", 1.0),
        ("dicom/RG1_J2KI.dcm", 1.0),
        ("dicom/nih_dx_no_finding.dcm", 1.0),
    ],
)
def test_frontal_radiographs_are_accepted(pattern: str, least: float) -> None:
    """Nearly all; the docstring of this module says which not."""
    assert share_accepted([judge(picture) for picture in pictures(pattern)]) >= least


@pytest.mark.parametrize(
    ("pattern", "every"),
    [
        ("idrid/grading960/*.jpg", 2),
        ("pcam/patches/*.jpg", 8),
        ("driver_frames/*.jpg", 1),
        ("face/*", 1),
        ("hostile/*", 1),
        ("dicom/SC_*.dcm", 1),
        ("dicom/RG3_J2KI.dcm", 1),
        ("dicom/mlut_18.dcm", 1),
    ],
)
def test_everything_else_is_refused(pattern: str, every: int) -> None:
    """Also without its colours, within one in a hundred."""
    found = list(pictures(pattern, every))
    without_colour = [replace(picture, pixels=picture.to_gray()) for picture in found]

    assert share_accepted([judge(picture) for picture in found]) == 0
    assert share_accepted([judge(picture) for picture in without_colour]) <= 0.02


def test_negatives_are_told_so() -> None:
    """All but a few, and none is accepted."""
    verdicts = [
        judge(replace(picture, pixels=255 - picture.pixels))
        for picture in pictures("chest_xray/nih512/*.jpg", 3)
    ]
    told = [GateReason.INVERTED in verdict.reasons for verdict in verdicts]

    assert sum(told) / len(told) >= 0.95
    assert share_accepted(verdicts) <= 0.01
