"""From the bytes of a DICOM file to its elements: meta information, deflate, and how many."""

import io
import struct
import zlib
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from shared.imaging.dicom_values import coded_bytes
from shared.imaging.errors import (
    ImageTooLarge,
    UnreadableImage,
    UnsupportedImage,
    decoder_failures,
)
from shared.imaging.limits import Limits

_PIXEL_GROUP = 0x7FE0
_PIXEL_DATA = 0x7FE00010
_IMAGE_GROUP = 0x0028
_TABLE_SEQUENCES = frozenset({0x00283000, 0x00283010})
_LONG_LENGTHS = frozenset(
    {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT"}
)
# Windows, ELF, scripts, Mach-O and markup.
_PROGRAMS = (
    b"MZ",
    b"\x7fELF",
    b"#!",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"<",
)
_MAX_META_ELEMENTS = 100
_READS_PER_ELEMENT = 5
_MAX_TABLE_BYTES = 2 * 1024 * 1024
_MAX_VALUE_BYTES = 256 * 1024
_MIN_INFLATED_BYTES = 16 * 1024 * 1024
_MAX_DEFLATE_RATIO = 64


def open_dicom(data: bytes, limits: Limits) -> tuple[bytes, str]:
    """The data set's bytes, inflated if need be, and its transfer syntax."""
    start = 132 if data[128:132] == b"DICM" else 0
    if start and data.startswith(_PROGRAMS):
        raise UnsupportedImage("The DICOM file's preamble holds a program or a web page.")
    at, transfer_syntax = _read_meta(data, start)
    body = data[at:]
    if transfer_syntax is None:
        return body, _guess_transfer_syntax(body)
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return _inflate(body, limits), ExplicitVRLittleEndian
    return body, transfer_syntax


class MeteredStream(io.BytesIO):
    """Bytes that may be read so many times: each data element costs a read, nested ones too."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        super().__init__(data)
        self._max_elements = limits.max_elements
        self._reads_left = _READS_PER_ELEMENT * limits.max_elements

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on, unless the file has had its reads."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ImageTooLarge(
                f"The DICOM file has more than {self._max_elements} elements.",
                limit=self._max_elements,
            )
        return super().read(size)


def read_elements(
    stream: io.BytesIO, transfer_syntax: str, *, stop_when: Callable[[int, str | None, int], bool]
) -> Dataset:
    """Read elements from where `stream` is until `stop_when` says so."""
    dataset = read_dataset(
        stream,
        is_implicit_VR=transfer_syntax == ImplicitVRLittleEndian,
        is_little_endian=transfer_syntax != ExplicitVRBigEndian,
        stop_when=stop_when,
    )
    for tag, _ in dataset.items():
        if tag.group == _IMAGE_GROUP:
            at_most = _MAX_TABLE_BYTES if tag in _TABLE_SEQUENCES else _MAX_VALUE_BYTES
            if coded_bytes(dataset, tag) > at_most:
                raise UnreadableImage("The DICOM file has an element of impossible length.")
    return dataset


def is_at_pixels(tag: int, vr: str | None, length: int) -> bool:
    """Stop before anything that is pixels."""
    return tag >> 16 >= _PIXEL_GROUP


def is_past_pixels(tag: int, vr: str | None, length: int) -> bool:
    """Stop behind the pixels."""
    return tag > _PIXEL_DATA


def _read_meta(data: bytes, at: int) -> tuple[int, str | None]:
    """Where group 0002 ends, and the transfer syntax that it names."""
    transfer_syntax = None
    for _ in range(_MAX_META_ELEMENTS):
        if data[at : at + 2] != b"\x02\0" or at + 12 > len(data):
            break
        if data[at + 4 : at + 6] in _LONG_LENGTHS:
            (length,) = struct.unpack_from("<L", data, at + 8)
            value_at = at + 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            value_at = at + 8
        if data[at + 2 : at + 4] == b"\x10\0":
            value = data[value_at : value_at + min(length, 64)]
            transfer_syntax = value.rstrip(b"\0 ").decode("latin-1")
        at = value_at + length
    return at, transfer_syntax


def _guess_transfer_syntax(body: bytes) -> str:
    """What a file without a header is written in, by the look of its first element."""
    if body[4:6].isalpha() and body[4:6].isupper():
        return ExplicitVRBigEndian if body[:1] == b"\0" else ExplicitVRLittleEndian
    return ImplicitVRLittleEndian


def _inflate(body: bytes, limits: Limits) -> bytes:
    """Inflate a deflated data set, but not a bomb."""
    at_most = min(
        limits.max_inflated_bytes, max(_MIN_INFLATED_BYTES, _MAX_DEFLATE_RATIO * len(body))
    )
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with decoder_failures("DICOM"):
        inflated = inflater.decompress(body, at_most)
    if inflater.unconsumed_tail:
        raise ImageTooLarge(
            f"The deflated DICOM file inflates to more than {at_most} bytes.", limit=at_most
        )
    if not inflater.eof:
        raise UnreadableImage("The deflated DICOM file is cut short.")
    return inflated
