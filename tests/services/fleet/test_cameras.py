"""Camera checks on pictures whose faults are known, and on real ones."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.fleet.cameras import FROZEN_S, FROZEN_TIMES, Fault, _Track, look_at, measure
from services.fleet.simulator.pictures import drawn
from shared.imaging import decode


def gray(jpeg: bytes) -> NDArray[np.uint8]:
    """A picture in gray, as small as the checks see it."""
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    small = cv2.resize(pixels, (160, 160), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


GOOD = gray(next(drawn(1)))


@pytest.mark.parametrize(
    ("picture", "faults"),
    [
        (GOOD, set()),
        (np.zeros_like(GOOD), {Fault.DARK}),
        (np.full_like(GOOD, 120), {Fault.BLOCKED}),
        (np.asarray(GOOD // 12, np.uint8), {Fault.DARK}),
        (np.asarray(cv2.GaussianBlur(GOOD, (0, 0), 8), np.uint8), {Fault.BLURRED}),
    ],
)
def test_a_picture_shows_its_faults(picture: NDArray[np.uint8], faults: set[Fault]) -> None:
    assert measure(picture).faults == faults


def test_the_same_picture_again_and_again_is_a_frozen_camera() -> None:
    track = _Track()
    look = measure(GOOD)
    moved = measure(np.roll(GOOD, 9, axis=1))
    soon = [track.note(look, second) for second in range(FROZEN_TIMES + 1)]

    assert Fault.FROZEN not in frozenset[Fault]().union(*soon)
    assert Fault.FROZEN in track.note(look, FROZEN_S + 1)
    assert Fault.FROZEN not in track.note(moved, FROZEN_S + 2)


@pytest.mark.weights
def test_real_frames_of_a_cab_have_no_faults() -> None:
    folder = os.environ.get("VEDETTE_ASSETS")
    if folder is None:
        pytest.skip("VEDETTE_ASSETS does not say where the frames are")
    files = sorted(Path(folder, "driver_frames").glob("*.jpg"))
    faulty = [
        path.name for path in files if look_at(decode(path.read_bytes(), target_px=160)).faults
    ]

    assert files
    assert faulty == []
