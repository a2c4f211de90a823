"""Decodes WSQ, the FBI's compression of fingerprints, from untrusted bytes; plain numpy."""

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.wsq.container import Container, Damaged, Frame, read_container
from services.bqat.engines.wsq.entropy import decode_blocks
from services.bqat.engines.wsq.wavelet import Band, build_tree, reconstruct

__all__ = ["MAGIC", "Damaged", "decode_wsq"]

MAGIC = b"\xff\xa0"
_MAX_BYTES = 8 * 1024 * 1024


def decode_wsq(content: bytes) -> NDArray[np.uint8]:
    """Decode one picture.

    Returns:
        `(H, W)`, gray.

    Raises:
        Damaged: the bytes are no WSQ picture, are cut short, or are too many.
    """
    if not content.startswith(MAGIC):
        raise Damaged("it does not begin as one")
    if len(content) > _MAX_BYTES:
        raise Damaged(f"it has {len(content)} bytes; at most {_MAX_BYTES} are read")
    found = read_container(content)
    frame, low_pass, high_pass = found.frame, found.low_pass, found.high_pass
    if frame is None or low_pass is None or high_pass is None or not found.bins:
        raise Damaged("it lacks a header or a table")
    tree = build_tree(frame.width, frame.height)
    coefficients = _dequantised(found, frame, tree.coded)
    picture = reconstruct(coefficients, tree, low_pass, high_pass)
    pixels = picture * np.float32(frame.scale) + np.float32(frame.shift) + np.float32(0.5)
    return np.asarray(np.clip(np.nan_to_num(pixels), 0, 255), np.uint8)


def _dequantised(found: Container, frame: Frame, coded: tuple[Band, ...]) -> NDArray[np.float32]:
    """Coefficients at the middle of their bins, each subband at its place."""
    sizes = [
        band.width * band.height if bins[0] else 0
        for band, bins in zip(coded, found.bins[: len(coded)], strict=True)
    ]
    indices = decode_blocks(found.blocks, sum(sizes))
    coefficients = np.zeros((frame.height, frame.width), np.float32)
    at = 0
    for band, size, (width, zero) in zip(coded, sizes, found.bins[: len(coded)], strict=True):
        if not size:
            continue
        part = indices[at : at + size].reshape(band.height, band.width)
        at += size
        middle = width * (np.abs(part) - found.bin_centre) + zero / 2
        coefficients[band.y : band.y + band.height, band.x : band.x + band.width] = np.where(
            part == 0, 0.0, np.sign(part) * middle
        )
    return coefficients
