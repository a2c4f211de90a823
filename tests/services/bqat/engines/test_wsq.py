"""WSQ: what the writer beside this test has encoded, and bytes that nobody should trust."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.bqat.engines import Unassessable
from services.bqat.engines.samples import read_sample
from services.bqat.engines.wsq import Damaged, decode_wsq
from services.bqat.engines.wsq.wavelet import build_tree
from tests.services.bqat.engines.drawings import finger
from tests.services.bqat.engines.wsq_writer import write_wsq


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A finger without grain: the highest band, which WSQ never stores, holds nothing of it."""
    picture = cv2.GaussianBlur(finger(noise=0), (0, 0), 1.5)
    return np.asarray(picture[100 : 100 + height, 60 : 60 + width], np.uint8)


@pytest.mark.parametrize(
    "size", [(256, 256), (257, 256), (256, 259), (251, 253), (262, 258), (300, 271)]
)
def test_a_picture_of_any_size_comes_back(size: tuple[int, int]) -> None:
    """Odd sides give subbands of unequal halves, in both orders."""
    picture = smooth(*size)

    decoded = decode_wsq(write_wsq(picture, bin_width=0.25))

    difference = np.abs(decoded.astype(int) - picture)
    assert decoded.shape == size
    assert difference.max() <= 2
    assert difference.mean() < 0.3


def test_values_beyond_the_short_symbols_come_back() -> None:
    """Bins this narrow need magnitudes of 8 and of 16 bits."""
    picture = np.where(np.indices((64, 64)).sum(axis=0) < 64, 250, 3).astype(np.uint8)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)

    decoded = decode_wsq(write_wsq(picture, bin_width=0.1))

    assert np.abs(decoded.astype(int) - picture).max() <= 1


def test_the_subbands_cover_the_picture_but_for_its_last_quarter() -> None:
    covered = np.zeros((301, 257), int)
    tree = build_tree(257, 301)
    for band in tree.coded:
        covered[band.y : band.y + band.height, band.x : band.x + band.width] += 1

    assert len(tree.coded) == 60
    assert len(tree.joined) == 20
    assert covered.max() == 1
    assert (covered == 0).sum() == (301 - 151) * (257 - 129)


def test_a_wsq_file_is_known_by_its_bytes() -> None:
    sample = read_sample(write_wsq(smooth(128, 128)))

    assert sample.format == "wsq"
    assert sample.pixels.shape == (128, 128)


def test_cut_files_are_refused() -> None:
    whole = write_wsq(smooth(64, 64))
    for length in range(2, len(whole) - 1, max(1, len(whole) // 60)):
        with pytest.raises(Damaged):
            decode_wsq(whole[:length])


def test_no_flipped_byte_leads_to_another_error() -> None:
    """Whatever is in the file: a picture or a refusal, in bounded time and memory."""
    whole = write_wsq(smooth(64, 64))
    numbers = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for place in numbers.integers(2, len(whole), 3):
            broken[place] = int(numbers.integers(0, 256))
        try:
            outcomes.add(decode_wsq(bytes(broken)).ndim)
        except Damaged:
            outcomes.add(0)
    assert outcomes == {0, 2}


def test_a_header_that_names_too_many_pixels_is_refused_before_any_exist() -> None:
    whole = write_wsq(smooth(64, 64))
    at = whole.index(b"\xff\xa2") + 6
    bomb = whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]

    with pytest.raises(Damaged, match="65535 x 65535"):
        decode_wsq(bomb)
    with pytest.raises(Unassessable, match="damaged"):
        read_sample(bomb)
