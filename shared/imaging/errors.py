"""What can be wrong with a picture, and the one door where decoders' exceptions become that."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from shared.problems import Problem


class UnreadableImage(Problem):
    """The bytes claim a known format and do not decode as it."""

    status, slug, title = 422, "unreadable-image", "Unreadable image"


class ImageTooLarge(Problem):
    """The picture has more bytes, pixels or frames than are decoded here."""

    status, slug, title = 413, "image-too-large", "Image too large"


class UnsupportedImage(Problem):
    """The bytes are no picture in a format, or a variant of it, that is read here."""

    status, slug, title = 415, "unsupported-image", "Unsupported image"


# What Pillow, pydicom, its plugins and numpy were seen to raise on broken input. Everything else
# (KeyboardInterrupt, a cancelled task, a Problem) passes through.
_DECODER_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    UnboundLocalError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def decoder_failures(format_name: str, *more: type[Exception]) -> Iterator[None]:
    """Translate a decoder's own exceptions into `UnreadableImage` and `ImageTooLarge`.

    `more` are exceptions of the decoder's own that derive from none of the usual ones. Its text
    stays in the chained exception: it may quote the file.
    """
    try:
        yield
    except (MemoryError, Image.DecompressionBombError) as error:
        raise ImageTooLarge("Decoding the picture needs more memory than it may use.") from error
    except _DECODER_FAILURES + more as error:
        raise UnreadableImage(f"The {format_name} picture is damaged or cut short.") from error
