"""How large a picture may be. Everything here is checked on headers, before pixels exist."""

from dataclasses import dataclass

from shared.imaging.errors import ImageTooLarge, UnreadableImage


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one picture.

    While it is decoded, a picture needs up to 3 bytes per pixel for 8-bit gray, 6 for wider gray,
    10 for colour and 15 for colour with transparency (measured at 100 million pixels).

    Attributes:
        max_bytes: the encoded picture.
        max_pixels: width times height of one frame.
        max_side_px: the longer side.
        max_frames: frames or pages that the file announces; only the first is decoded.
        max_inflated_bytes: a deflated DICOM data set once it is inflated.
        max_elements: data elements of a DICOM file, those in sequences included.
        max_scans: passes over the picture in one JPEG; the largest pictures may have twelve.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_side_px: int = 30_000
    max_frames: int = 1_000
    max_inflated_bytes: int = 256 * 1024 * 1024
    max_elements: int = 20_000
    max_scans: int = 64

    def check_bytes(self, count: int) -> None:
        """Refuse an encoded picture of `count` bytes if that is none or too many."""
        if count == 0:
            raise UnreadableImage("The picture is empty.")
        if count > self.max_bytes:
            raise ImageTooLarge(
                f"The picture has {count} bytes; at most {self.max_bytes} are read.",
                limit=self.max_bytes,
                found=count,
            )

    def check_size(self, width_px: int, height_px: int) -> None:
        """Refuse a frame that has no pixels or too many."""
        if width_px < 1 or height_px < 1:
            raise UnreadableImage("The picture's header names no pixels.")
        if width_px * height_px > self.max_pixels:
            raise ImageTooLarge(
                f"The picture is {width_px} x {height_px} pixels; at most {self.max_pixels} "
                "pixels are decoded.",
                limit=self.max_pixels,
                found=width_px * height_px,
            )
        if max(width_px, height_px) > self.max_side_px:
            raise ImageTooLarge(
                f"The picture is {width_px} x {height_px} pixels; a side may have "
                f"{self.max_side_px}.",
                limit=self.max_side_px,
                found=max(width_px, height_px),
            )

    def check_frames(self, frames: int) -> None:
        """Refuse a file that announces too many frames."""
        if frames > self.max_frames:
            raise ImageTooLarge(
                f"The file has more than {self.max_frames} frames.", limit=self.max_frames
            )
