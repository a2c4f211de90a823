"""From untrusted bytes to a picture: sniff, check, decode."""

from shared.imaging.errors import UnsupportedImage
from shared.imaging.limits import Limits
from shared.imaging.picture import Picture
from shared.imaging.quiet import quieten_decoders
from shared.imaging.raster import Fit, decode_raster
from shared.imaging.sniff import READ_FORMATS, ImageFormat, find_format

_DEFAULT_LIMITS = Limits()


def decode(
    data: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    *,
    target_px: int | None = None,
    fit: Fit | None = None,
) -> Picture:
    """Decode one picture.

    The format comes from the bytes alone. Everything that costs memory or time is checked on the
    header first. Truncated pictures are refused: half a radiograph is no radiograph.

    Args:
        data: the whole file.
        limits: how large it may be.
        target_px: the side that the picture will be resized to, if it will; lets a JPEG be
            decoded at a reduced size of at least twice that.
        fit: resizes the picture while the decoder still has it, which saves two copies; not used
            where a picture must be turned, inverted or converted first.

    Raises:
        UnsupportedImage: no format, or a variant of one, that is read here.
        ImageTooLarge: beyond `limits`.
        UnreadableImage: damaged.
    """
    limits.check_bytes(len(data))
    image_format = find_format(data)
    if image_format is None:
        raise UnsupportedImage(f"The bytes are no picture that is read here: {READ_FORMATS}.")
    quieten_decoders()
    if image_format is ImageFormat.DICOM:
        # pydicom is installed with the services that read DICOM, and takes a while to import.
        from shared.imaging.dicom import decode_dicom

        return decode_dicom(data, limits)
    return decode_raster(data, image_format, limits, target_px, fit)
