"""Is this picture a patch of stained tissue in focus at all? Rules, no learned weights.

A network answers whatever it is shown: bare glass and a radiograph get a probability too. These
rules look at what a patch stained with haematoxylin and eosin has at about one micrometre per
pixel: tissue on it, dyes that absorb green light more than red or blue, and detail as fine as the
rim of a nucleus.

Measured by `tests/services/scancer/test_gate_measured.py` on the pictures that `VEDETTE_ASSETS`
points at; the figures stand there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

#: What patches are judged at, because the network sees them so.
PATCH_SIDE_PX = 96
MIN_SIDE_PX = 48
MAX_ASPECT = 1.5
#: Bare glass has less saturation than this once it is blurred a little.
#: Source: the background rule of PatchCamelyon (Veeling et al., MICCAI 2018).
MIN_TISSUE_SATURATION = 0.07
#: Below this optical density, summed over the colours, hue means nothing.
MIN_DENSITY = 0.3
MIN_TISSUE_SHARE = 0.01
#: How much of the tissue must absorb green light most.
MIN_GREEN_SHARE = 0.85
#: What the tissue as a whole may absorb of red, green and blue light, as shares of the three.
SHARE_RANGES = ((0.06, 0.38), (0.37, 0.70), (0.14, 0.42))
MIN_CONTRAST = 0.02
#: Detail of one pixel by detail of three, and detail finer than that by detail of one.
MIN_DETAIL = 0.55
MIN_FINE_DETAIL = 0.6
#: With more than this it is noise, which has no coarse detail to speak of.
MAX_DETAIL = 3.2


class GateReason(StrEnum):
    """Why a picture is not taken for a patch that the network can judge."""

    TOO_SMALL = "too-small"
    ASPECT = "aspect"
    NO_TISSUE = "no-tissue"
    NOT_HE_STAIN = "not-he-stain"
    LOW_CONTRAST = "low-contrast"
    OUT_OF_FOCUS = "out-of-focus"
    NOISE = "noise"


#: What a person is told beside the slug.
GATE_SENTENCES: Mapping[GateReason, str] = {
    GateReason.TOO_SMALL: "The picture has too few pixels to be a patch.",
    GateReason.ASPECT: "The picture is too long or too narrow to be a patch.",
    GateReason.NO_TISSUE: "The picture shows bare glass: hardly any of it is stained.",
    GateReason.NOT_HE_STAIN: (
        "The colours are not those of haematoxylin and eosin, the stain that the network knows."
    ),
    GateReason.LOW_CONTRAST: "The picture has hardly any contrast.",
    GateReason.OUT_OF_FOCUS: (
        "The picture is blurred, or was enlarged: it lacks detail of the size of a pixel."
    ),
    GateReason.NOISE: "The picture is grain without any structure.",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a picture may go to the network, and every reason that speaks against it."""

    reasons: tuple[GateReason, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def check_patch(rgb: NDArray[np.uint8]) -> Gate:
    """Judge one patch.

    Args:
        rgb: `(H, W, 3)`, 0 to 255; shrunk to 96 x 96 px first where it is larger.

    Returns:
        Every reason that speaks against it. Where there is no tissue, its stain and its focus are
        not looked at.
    """
    height_px, width_px = rgb.shape[:2]
    if min(height_px, width_px) < MIN_SIDE_PX:
        return Gate((GateReason.TOO_SMALL,))
    aspect = (GateReason.ASPECT,) if _aspect(height_px, width_px) > MAX_ASPECT else ()
    if max(height_px, width_px) > PATCH_SIDE_PX:
        side = (PATCH_SIDE_PX, PATCH_SIDE_PX)
        rgb = np.asarray(cv2.resize(rgb, side, interpolation=cv2.INTER_AREA), np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 1.0), np.uint8)
    stain = _stain_reasons(smooth)
    if stain == (GateReason.NO_TISSUE,):
        return Gate(aspect + stain)
    return Gate(aspect + stain + _focus_reasons(rgb))


def tissue_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture shows stained tissue rather than glass.

    Args:
        rgb: `(H, W, 3)`, 0 to 255, blurred a little so that single pixels do not count.

    Returns:
        `(H, W)`. Black counts as no tissue: scanners fill what they did not scan with it.
    """
    # OpenCV, because numpy takes ten times as long over an axis of three.
    red, green, blue = cv2.split(rgb)
    highest = cv2.max(cv2.max(red, green), blue).astype(np.float32)
    lowest = cv2.min(cv2.min(red, green), blue).astype(np.float32)
    saturated = highest - lowest >= MIN_TISSUE_SATURATION * np.maximum(highest, 1.0)
    return np.asarray(saturated & (highest > 20), np.bool_)


def _aspect(height_px: int, width_px: int) -> float:
    return max(height_px, width_px) / min(height_px, width_px)


def _stain_reasons(smooth: NDArray[np.uint8]) -> tuple[GateReason, ...]:
    """Whether there is tissue, and whether it has the colours of the two dyes."""
    density = optical_density(smooth)
    total = _over_colours(density, 1.0)
    # OpenCV again: numpy takes three times as long to pick out the stained pixels.
    stained = (tissue_mask(smooth) & (total > MIN_DENSITY)).view(np.uint8)
    count = cv2.countNonZero(stained)
    if count < MIN_TISSUE_SHARE * stained.size:
        # What is dark and grey is no bare glass.
        grey = float(np.mean(total > 2 * MIN_DENSITY)) > 0.25
        return (GateReason.NOT_HE_STAIN if grey else GateReason.NO_TISSUE,)
    red, green, blue = cv2.split(density)
    green_most = cv2.bitwise_and(
        cv2.compare(green, red, cv2.CMP_GT), cv2.compare(green, blue, cv2.CMP_GT), mask=stained
    )
    green_share = cv2.countNonZero(green_most) / count
    means = np.array(cv2.mean(density, mask=stained)[:3])
    shares = means / means.sum()
    is_plausible = green_share >= MIN_GREEN_SHARE and all(
        low <= share <= high
        for share, (low, high) in zip(shares.tolist(), SHARE_RANGES, strict=True)
    )
    return () if is_plausible else (GateReason.NOT_HE_STAIN,)


def _focus_reasons(rgb: NDArray[np.uint8]) -> tuple[GateReason, ...]:
    """Whether there is detail as fine as that of a patch in focus.

    Detail of one size is compared with that of another, so that neither faint staining nor few
    nuclei count against a patch; a sum of squared differences alone would take noise for focus.
    """
    density = _over_colours(optical_density(rgb), 1 / 3)
    if _deviation(density) < MIN_CONTRAST:
        return (GateReason.LOW_CONTRAST,)
    levels = [density, *(cv2.GaussianBlur(density, (0, 0), s) for s in (0.6, 1.2, 2.0, 4.0))]
    finest = _deviation(levels[0] - levels[1])
    fine = _deviation(levels[1] - levels[2])
    coarse = _deviation(levels[3] - levels[4])
    if fine < MIN_DETAIL * coarse or finest < MIN_FINE_DETAIL * fine:
        return (GateReason.OUT_OF_FOCUS,)
    return (GateReason.NOISE,) if fine > MAX_DETAIL * coarse else ()


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much light is absorbed, per colour: `(H, W, 3)`, 0 (none) to 5.5, natural logarithm.

    Source:
        Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution",
        2001: in this space dyes add up.
    """
    return np.asarray(cv2.LUT(rgb, _DENSITY_OF), np.float32)


def _over_colours(density: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """The weighted sum of the three colours, `(H, W)`."""
    return np.asarray(cv2.transform(density, np.full((1, 3), weight, np.float32)), np.float32)


def _deviation(figures: NDArray[np.float32]) -> float:
    """The standard deviation."""
    return float(cv2.meanStdDev(figures)[1].item())


_DENSITY_OF = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
