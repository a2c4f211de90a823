"""Pictures made for one test each: valid ones by Pillow and pydicom, hostile ones byte by byte."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"


def encoded(pixels: NDArray[Any], image_format: str, **options: Any) -> bytes:
    """`pixels` in a file that Pillow writes."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


def gradient(height_px: int = 24, width_px: int = 32, *, dtype: str = "uint8") -> NDArray[Any]:
    """Values that rise along rows and columns, so that every turn of the picture shows."""
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    return np.asarray((rows * width_px + columns) % 251, dtype=dtype)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    crc = zlib.crc32(kind + body)
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", crc)


def png_header(width_px: int, height_px: int, *, bits: int = 8, colour_type: int = 0) -> bytes:
    """A PNG signature and header."""
    body = struct.pack(">LLBBBBB", width_px, height_px, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body)


def png_with(chunks: bytes) -> bytes:
    """A one-pixel PNG with more chunks between its header and its pixel."""
    pixel = chunk(b"IDAT", zlib.compress(b"\0\x80"))
    return png_header(1, 1) + chunks + pixel + chunk(b"IEND", b"")


def exif_with_orientation(value: int) -> bytes:
    """An EXIF block that holds an orientation and nothing else."""
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHLHHL", 1, 274, 3, 1, value, 0, 0)


def jpeg_with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment behind its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def tiff_with_entries(entries: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """A little-endian TIFF whose first directory is `entries` (tag, type, count, value)."""
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<L", 8) + directory + bytes(4) + tail


def one_pixel_tiff_entries(strip_at: int) -> list[tuple[int, int, int, int]]:
    """What a TIFF of one gray pixel needs in its directory."""
    return [
        (256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, strip_at), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1),
    ]  # fmt: skip


def gif_of(frames: int) -> bytes:
    """A one-pixel GIF of many frames."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    return head + frame * frames + b";"


def dicom_dataset(stored: NDArray[Any], **elements: Any) -> Dataset:
    """A data set around stored values: `(H, W)` gray or `(H, W, 3)` colour."""
    dataset = Dataset()
    dataset.SOPClassUID = DIGITAL_X_RAY
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "SECRET-1"
    dataset.Modality = "DX"
    dataset.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return dataset


def dicom_file(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """`dataset` as a file with preamble and file meta information."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.file_meta.MediaStorageSOPClassUID = UID(DIGITAL_X_RAY)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def dicom(stored: NDArray[Any], **elements: Any) -> bytes:
    """A DICOM file around stored values."""
    return dicom_file(dicom_dataset(stored, **elements))


def lookup_table(first: int, outputs: list[int], *, bits: int = 16) -> list[Dataset]:
    """A sequence of one LUT, as words."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(outputs) % 65536, first % 65536, bits])
    item.add_new("LUTData", "US", outputs)
    return [item]


def dicom_meta(transfer_syntax: str) -> bytes:
    """A preamble and the shortest file meta information."""
    uid = transfer_syntax.encode()
    uid += b"\0" * (len(uid) % 2)
    return bytes(128) + b"DICM" + b"\x02\0\x10\0UI" + struct.pack("<H", len(uid)) + uid


def explicit_element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """One little-endian data element with a short length."""
    return struct.pack("<HH", *tag) + vr + struct.pack("<H", len(value)) + value


def dicom_header(values: Mapping[tuple[int, int], tuple[bytes, bytes]]) -> bytes:
    """Elements in the order of their tags."""
    return b"".join(explicit_element(tag, *values[tag]) for tag in sorted(values))


def image_elements(
    rows: int, columns: int, frames: bytes | None = None
) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """The image pixel module of an 8-bit gray picture."""
    elements = {
        (0x28, 0x02): (b"US", struct.pack("<H", 1)),
        (0x28, 0x04): (b"CS", b"MONOCHROME2 "),
        (0x28, 0x10): (b"US", struct.pack("<H", rows)),
        (0x28, 0x11): (b"US", struct.pack("<H", columns)),
        (0x28, 0x100): (b"US", struct.pack("<H", 8)),
        (0x28, 0x101): (b"US", struct.pack("<H", 8)),
        (0x28, 0x102): (b"US", struct.pack("<H", 7)),
        (0x28, 0x103): (b"US", struct.pack("<H", 0)),
    }
    if frames is not None:
        elements[(0x28, 0x08)] = (b"IS", frames)
    return elements
