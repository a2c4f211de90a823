"""Pictures from untrusted bytes: sniffed, bounded before they are decoded, turned and windowed."""

from shared.imaging.decoding import decode
from shared.imaging.encoding import to_jpeg, to_png
from shared.imaging.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from shared.imaging.limits import Limits
from shared.imaging.overlay import overlay
from shared.imaging.picture import DicomFacts, Picture
from shared.imaging.pool import DecodePool, Decoder, ThreadDecoder, decode_in_pool

__all__ = [
    "DecodePool",
    "Decoder",
    "DicomFacts",
    "ImageTooLarge",
    "Limits",
    "Picture",
    "ThreadDecoder",
    "UnreadableImage",
    "UnsupportedImage",
    "decode",
    "decode_in_pool",
    "overlay",
    "to_jpeg",
    "to_png",
]
