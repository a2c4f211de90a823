"""Values of DICOM elements from a stranger: absent, empty, endless or unparsable ones are none."""

import re
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

_UID = re.compile(r"[0-9.]{1,64}")
_MAX_BYTES = 16 * 1024
_UNPARSABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    LookupError,
    NotImplementedError,  # pydicom's word for a representation that it does not read
    TypeError,
    ValueError,
)


def values_of(dataset: Dataset, keyword: str) -> list[Any]:
    """An element's values; none where it is absent, empty or cannot be parsed."""
    if coded_bytes(dataset, keyword) > _MAX_BYTES:
        return []
    try:
        value = dataset.get(keyword)
    except _UNPARSABLE:
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]


def integer_of(dataset: Dataset, keyword: str, default: int) -> int:
    """The first value as an integer."""
    values = values_of(dataset, keyword)
    return int(values[0]) if values else default


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a number."""
    values = values_of(dataset, keyword)
    try:
        return float(values[0]) if values else None
    except (TypeError, ValueError):
        return None


def texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Up to four printable values, of up to 64 characters each."""
    texts = (str(value).strip() for value in values_of(dataset, keyword)[:4])
    return tuple(text[:64] for text in texts if text and text.isprintable())


def text_of(dataset: Dataset, keyword: str) -> str | None:
    """The first of them."""
    texts = texts_of(dataset, keyword)
    return texts[0] if texts else None


def uid_of(dataset: Dataset, keyword: str) -> str | None:
    """A value that has the form of an identifier: digits and dots."""
    text = text_of(dataset, keyword)
    return text if text is not None and _UID.fullmatch(text) else None


def words_of(item: Dataset, keyword: str) -> list[int]:
    """16-bit values, however the file's value representation made them arrive."""
    value = item[keyword].value
    if isinstance(value, bytes):
        is_little_endian = item.original_encoding[1] is not False
        words = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if is_little_endian else ">u2")
        return [int(word) for word in words]
    return [int(word) for word in value] if not isinstance(value, int) else [value]


def coded_bytes(dataset: Dataset, tag: int | str) -> int:
    """How many bytes an element has that is not parsed yet; parsing may cost hundredfold."""
    element = dataset.get_item(tag)
    value = element.value if isinstance(element, RawDataElement) else None
    return len(value) if isinstance(value, bytes) else 0
