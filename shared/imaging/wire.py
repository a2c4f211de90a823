"""How the decoding child and its parent speak: a JSON head, then raw bytes."""

import dataclasses
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.imaging.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from shared.imaging.limits import Limits
from shared.imaging.picture import DicomFacts, Picture
from shared.problems import Problem

READY = b"R"  # what a child says once, when it is ready for requests
LENGTHS = struct.Struct(">LQ")
_PROBLEMS: Mapping[str, type[Problem]] = {
    kind.slug: kind for kind in (ImageTooLarge, UnreadableImage, UnsupportedImage)
}


def to_request(data: bytes, limits: Limits, target_px: int | None) -> tuple[bytes, bytes]:
    """Ask for a decode: what goes before the picture, and the picture."""
    head = {"limits": dataclasses.asdict(limits), "target_px": target_px}
    return to_head(head, len(data)), data


def from_request(head: bytes) -> tuple[Limits, int | None]:
    """What a request's head says; the picture is the bytes after it."""
    members = json.loads(head)
    return Limits(**members["limits"]), members["target_px"]


def to_reply(outcome: Picture | Problem) -> tuple[bytes, memoryview]:
    """Answer with a picture or with what was wrong with it: a head, and the pixels."""
    if isinstance(outcome, Problem):
        refusal = {
            "slug": outcome.slug,
            "detail": outcome.detail,
            "extensions": outcome.extensions,
        }
        return to_head(refusal, 0), memoryview(b"")
    head = {
        "shape": outcome.pixels.shape,
        "format": outcome.format,
        "width_px": outcome.width_px,
        "height_px": outcome.height_px,
        "dicom": None if outcome.dicom is None else dataclasses.asdict(outcome.dicom),
        "notes": outcome.notes,
    }
    return to_head(head, outcome.pixels.nbytes), outcome.pixels.reshape(-1).data


def from_reply(head: bytes, pixels: bytes) -> Picture:
    """The picture of a reply, or its problem raised."""
    members = json.loads(head)
    if "slug" in members:
        raise _PROBLEMS[members["slug"]](members["detail"], **members["extensions"])
    return Picture(
        pixels=np.frombuffer(pixels, dtype=np.uint8).reshape(members["shape"]),
        format=members["format"],
        width_px=members["width_px"],
        height_px=members["height_px"],
        dicom=_to_facts(members["dicom"]),
        notes=tuple(members["notes"]),
    )


def _to_facts(members: dict[str, Any] | None) -> DicomFacts | None:
    if members is None:
        return None
    spacing = members["pixel_spacing_mm"]
    return DicomFacts(
        **{
            **members,
            "patient_orientation": tuple(members["patient_orientation"]),
            "pixel_spacing_mm": None if spacing is None else (spacing[0], spacing[1]),
        }
    )


def to_head(members: Mapping[str, object], body_bytes: int) -> bytes:
    """What goes before a body of so many bytes: the lengths, and `members` as JSON."""
    text = json.dumps(members).encode()
    return LENGTHS.pack(len(text), body_bytes) + text
