"""Between today's study and the old x-ray object. Pure."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from services.chexray.domain import MEDIA_TOKEN_CHARACTERS, Pathology, Study
from shared.imaging.media_types import BROWSER_FORMATS

IMAGES = "/media/images/"
HEATMAPS = "/media/heatmaps/"
_HEATMAP_PREFIX = "heatmap_"
_HEATMAP_EXTENSIONS = frozenset({"jpg", "jpeg", "png"})


def to_xray(study: Study, user_number: int) -> dict[str, Any]:
    """The x-ray object, its keys in the old order (Q13 to Q16).

    Probabilities are null where the gate refused the picture.
    """
    probability_of = {finding.label: finding.probability for finding in study.findings}
    return {
        "id": study.number,
        "title": study.title,
        "image": IMAGES + quote(image_name(study)),
        "date_posted": to_time(study.created_at),
        "userperson": user_number,
        "heatmap_image": HEATMAPS + quote(heatmap_name(study)) if study.findings else None,
        **{label: probability_of.get(label) for label in Pathology},
    }


def to_time(at: datetime) -> str:
    """`2026-11-20T06:20:43.134088Z`; without microseconds where there are none."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def image_name(study: Study) -> str:
    """The public name of the picture: the client's own, and 131 random bits (Q14)."""
    stem, extension = _split(study.image.file_name)
    if study.image.format not in BROWSER_FORMATS:
        extension = "png"
    return f"{stem}_{study.media_token}.{extension or study.image.format}"


def heatmap_name(study: Study) -> str:
    """The public name of the heatmap."""
    stem, extension = _split(study.image.file_name)
    if extension.lower() not in _HEATMAP_EXTENSIONS:
        extension = "png"
    return f"{_HEATMAP_PREFIX}{stem}_{study.media_token}.{extension}"


def media_token_in(name: str) -> str:
    """The random part of a picture's or heatmap's name; empty where there is none."""
    stem, _ = _split(name)
    token = stem[-MEDIA_TOKEN_CHARACTERS:]
    is_token = len(token) == MEDIA_TOKEN_CHARACTERS and token.isascii() and token.isalnum()
    return token if is_token else ""


def _split(file_name: str) -> tuple[str, str]:
    stem, dot, extension = file_name.rpartition(".")
    return (stem, extension) if dot else (file_name, "")
