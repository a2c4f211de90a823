"""JPEG: marker by marker up to the first scan, keeping what the scans need."""

import struct
from dataclasses import dataclass

from shared.imaging.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from shared.imaging.essentials import Coded, Essentials
from shared.imaging.ifd import exif_orientation
from shared.imaging.limits import Limits

_START_OF_SCAN = 0xDA
_END = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_CODED = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_LS_FRAME = 0xF7
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# JFIF and Adobe say how colours are coded; every other application segment is metadata.
_DROPPED = (frozenset(range(0xE0, 0xF0)) - {0xE0, 0xEE}) | {0xFE}
_EXIF = 0xE1
_MAX_SEGMENTS = 10_000
_SCANS_OF_THE_LARGEST = 12


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What the start-of-frame segment says."""

    precision_bits: int
    width_px: int
    height_px: int
    components: int
    process: int
    """The marker's second byte: how the samples are coded."""


def find_essentials(data: bytes, limits: Limits) -> Essentials:
    """Check `data` and drop its EXIF, XMP, profiles, thumbnails and further pictures."""
    kept, header, orientation, scans_at = _read_segments(data)
    if header.precision_bits not in (8, 2):
        raise UnsupportedImage(
            f"JPEG pictures of {header.precision_bits} bits are read only inside DICOM."
        )
    limits.check_size(header.width_px, header.height_px)
    check_scans(data[scans_at:], header, limits)
    reduced = b"".join([*kept, data[scans_at:]])
    return Essentials(
        data=reduced,
        width_px=header.width_px,
        height_px=header.height_px,
        orientation=orientation,
        coded=_coded(reduced, header),
    )


def _coded(data: bytes, header: FrameHeader) -> Coded | None:
    """Gray and coloured pictures, baseline or progressive, in Huffman codes.

    The decoder writes rows as long as the data say into rows as long as it is told, so the two
    must agree: `data` are segments that were read here, with one frame header among them.
    """
    if header.precision_bits != 8 or header.process not in _HUFFMAN_CODED:
        return None
    mode = {1: "L", 3: "RGB"}.get(header.components)
    return None if mode is None else Coded(mode, (data,), "jpeg", (mode, ""))


def check_scans(data: bytes, header: FrameHeader, limits: Limits) -> None:
    """Refuse a progressive picture that is coded in so many passes that reading it is an attack.

    Each scan goes over all pixels, however few bytes it has. Encoders write about ten, so the
    largest pictures may have twelve, and smaller ones up to `max_scans`.
    """
    scans = data.count(bytes((0xFF, _START_OF_SCAN)))
    at_most = min(
        limits.max_scans,
        _SCANS_OF_THE_LARGEST * limits.max_pixels // (header.width_px * header.height_px),
    )
    if scans > at_most:
        raise ImageTooLarge(
            f"The JPEG picture is coded in {scans} scans; at its size {at_most} are read.",
            limit=at_most,
            found=scans,
        )


def read_frame_header(data: bytes) -> FrameHeader:
    """The size that a JPEG, lossless JPEG or JPEG-LS stream declares."""
    return _read_segments(data)[1]


def _read_segments(data: bytes) -> tuple[list[bytes], FrameHeader, int, int]:
    kept = [data[:2]]
    header: FrameHeader | None = None
    orientation: int | None = None
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker in (0x00, 0xFF):  # stuffing or fill, between segments
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        if marker in (_START_OF_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        body = data[at + 4 : end]
        if length < 2 or end > len(data):
            raise UnreadableImage("The JPEG picture's header is damaged.")
        if marker in _FRAMES or marker == _JPEG_LS_FRAME:
            if header is not None or len(body) < 6:
                raise UnreadableImage("The JPEG picture's header is damaged.")
            precision_bits, height_px, width_px, components = struct.unpack_from(">BHHB", body)
            header = FrameHeader(precision_bits, width_px, height_px, components, marker)
        if marker == _EXIF and orientation is None and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        if marker not in _DROPPED:
            kept.append(data[at:end])
        at = end
    if header is None or at < 0:
        raise UnreadableImage("The JPEG picture has no header.")
    return kept, header, orientation or 1, at
