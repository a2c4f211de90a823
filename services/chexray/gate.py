"""Is this picture a frontal chest radiograph at all? Rules, no learned weights.

A network answers whatever it is shown: a photograph of an eye gets five probabilities too. These
rules look at what every frontal chest radiograph has: no colour, many grey levels, smooth
shading, and two dark lung fields beside a bright midline above a bright abdomen.

Measured by `tests/services/chexray/test_gate_measured.py` on the pictures that `VEDETTE_ASSETS`
points at; the figures stand there.
"""

from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from services.chexray.domain import GateReason, GateVerdict
from shared.imaging import DicomFacts, Picture
from shared.imaging.halving import halved_to

MIN_SIDE_PX = 64
MAX_ASPECT = 1.7
#: Mean distance between the strongest and the weakest colour channel, of 255.
MAX_CHROMA = 6.0
MIN_CONTRAST = 10.0
MIN_GREY_LEVELS = 48
#: Share of pixels that are pure black or pure white, inside the picture's middle half.
MAX_CLIPPED = 0.6
#: Mean fine detail as a share of the contrast; noise, text and tissue lie above.
MAX_ROUGHNESS = 0.15
#: How well the lung template must fit, how much darker the lungs must be than the midline (in
#: standard deviations of the fitted part), and the least of both together.
MIN_FIT = 0.68
MIN_LUNG_CONTRAST = 0.2
MIN_EVIDENCE = 0.77
_CONTRAST_WEIGHT = 0.05
_MAX_COUNTED_CONTRAST = 1.5
#: A picture on its side must fit better, because there are more ways to fit.
_TURN_PENALTY = 0.03
#: With this much evidence for an upright chest, nobody looks at the picture from the side: of
#: 577 radiographs turned by 90 degrees none has more than 0.77 upright.
_UPRIGHT_EVIDENCE = 0.80
#: With this much, and lungs this dark, no other size of the template is tried either.
_CERTAIN_EVIDENCE = 0.84
_CERTAIN_CONTRAST = 0.8
#: A negative must look this much more like a chest when it is inverted.
_NEGATIVE_MARGIN = 0.04

_THUMBNAIL_PX = 48
_TEXTURE_PX = 192
_CHROMA_PX = 96
#: A Gaussian of 2 px; `GaussianBlur`, which counts in fixed point, takes three times as long.
_BLUR = cv2.getGaussianKernel(13, 2.0, cv2.CV_32F)
#: Height of the template as a share of the thumbnail's, and its width over the same share of the
#: thumbnail's; those that fit most often come first.
_TEMPLATE_SIZES = tuple(
    (height, aspect) for height in (0.75, 0.65, 0.85, 0.55, 0.95) for aspect in (1.0, 1.2, 0.8)
)
_MIN_TEMPLATE_PX = 10
_LUNG_ROWS, _LEFT, _RIGHT, _MIDLINE = slice(3, 13), slice(2, 7), slice(13, 18), slice(9, 11)

# The left half of the mean of 275 upright NIH radiographs, each aligned, scaled to mean 0 and
# deviation 1, mirrored and averaged; 20 x 10 levels in hexadecimal.
# Source: NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017).
_TEMPLATE_HALF = (
    "0003080f1b32516f8894",
    "3538393b3e49596f858f",
    "6a696763595151627d8c",
    "8a837a6751434153758c",
    "978c7450362d334a7292",
    "9d8b643b221c2744749b",
    "a085572f1a1521427aa5",
    "9f7e4e2a1816264b84ae",
    "9c7748281a1d345c91b6",
    "9872452a20294670a0bf",
    "936d452f2a3a5a83aec8",
    "8d694737384d6f95bbd1",
    "87664a41496281a4c5d8",
    "806552515f7793b0cddd",
    "7d6c656c7c90a5bdd4e3",
    "8380848f9eacbbcbdde9",
    "919aa4b0bbc6cfdae7f0",
    "9fafbdc8d2d9e0e7f0f6",
    "a7bdcbd7e0e7ecf1f7fb",
    "aac3d3dfe8eff3f7fcff",
)
_TEMPLATE_SIDE_PX = 20

_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "DR", "RF", "RG", "XA", "OT", "SC"})
_CHEST_PARTS = ("CHEST", "THORAX", "LUNG", "HEART", "RIB", "STERNUM", "CLAVICLE", "PORT")
_LATERAL_VIEWS = frozenset({"LL", "RL", "LATERAL", "LAT", "LLD", "RLD"})


def _template() -> NDArray[np.float32]:
    half = np.array([list(bytes.fromhex(row)) for row in _TEMPLATE_HALF], np.float32)
    return np.hstack([half, half[:, ::-1]])


_TEMPLATE = _template()


def judge(picture: Picture) -> GateVerdict:
    """Decide whether the network may look at `picture`.

    Args:
        picture: decoded, bone bright; at least 192 px where the original has them.

    Returns:
        Every reason that speaks against it; without any, how far the picture lies on its side.
    """
    stated = tuple(_stated_reasons(picture.dicom))
    gray = picture.to_gray()
    small = _shrunk(gray)
    plain = tuple(_plain_reasons(picture, gray, small))
    if plain:
        return GateVerdict(stated + plain)
    view = _View(_thumbnail(small, gray.shape))
    fit = _best_fit(view)
    if not fit.is_chest or fit.evidence < MIN_EVIDENCE + 0.05:
        inverted = view.inverted()
        # An upright chest is at most the negative of one that stands upright as well.
        is_upright = fit.is_chest and not fit.quarter_turns
        negative = _fit(inverted, 0) if is_upright else _best_fit(inverted)
        if negative.is_chest and negative.evidence > fit.evidence + _NEGATIVE_MARGIN:
            return GateVerdict((*stated, GateReason.INVERTED))
    if not fit.is_chest:
        return GateVerdict((*stated, GateReason.NO_LUNG_FIELDS))
    if stated:
        return GateVerdict(stated)
    return GateVerdict(quarter_turns=fit.quarter_turns)


class _Fit:
    """The best place of the lung template in a thumbnail, and what it shows there."""

    def __init__(self, correlation: float, part: NDArray[np.float32], quarter_turns: int) -> None:
        self.correlation = correlation
        self.quarter_turns = quarter_turns
        self._part = part
        self._penalty = _TURN_PENALTY if quarter_turns else 0.0

    @cached_property
    def lung_contrast(self) -> float:
        """How much darker the lungs are than the midline, in deviations of the fitted part."""
        return _lung_contrast(self._part)

    @property
    def evidence(self) -> float:
        """Fit and lung contrast in one figure."""
        counted = min(self.lung_contrast, _MAX_COUNTED_CONTRAST)
        return self.correlation + _CONTRAST_WEIGHT * counted - self._penalty

    @property
    def is_chest(self) -> bool:
        """Whether this is enough for two lungs and a midline."""
        return (
            self.correlation >= MIN_FIT
            and self.lung_contrast >= MIN_LUNG_CONTRAST
            and self.evidence >= MIN_EVIDENCE
        )

    @property
    def is_certain(self) -> bool:
        """Whether no other place, size or turn needs to be tried."""
        most = self.correlation + _CONTRAST_WEIGHT * _MAX_COUNTED_CONTRAST - self._penalty
        return (
            most >= _CERTAIN_EVIDENCE
            and self.evidence >= _CERTAIN_EVIDENCE
            and self.lung_contrast >= _CERTAIN_CONTRAST
        )


def _stated_reasons(dicom: DicomFacts | None) -> list[GateReason]:
    """What a DICOM file itself says against a frontal chest radiograph; silence says nothing."""
    if dicom is None:
        return []
    reasons = []
    if dicom.modality and dicom.modality.upper() not in _RADIOGRAPH_MODALITIES:
        reasons.append(GateReason.NOT_A_RADIOGRAPH)
    part = (dicom.body_part or "").upper()
    if part and not any(name in part for name in _CHEST_PARTS):
        reasons.append(GateReason.NOT_A_CHEST)
    if (dicom.view_position or "").upper() in _LATERAL_VIEWS:
        reasons.append(GateReason.NOT_FRONTAL)
    return reasons


def _plain_reasons(
    picture: Picture, gray: NDArray[np.uint8], small: NDArray[np.uint8]
) -> list[GateReason]:
    """What needs no idea of a chest: size, colour, contrast, texture."""
    height_px, width_px = picture.pixels.shape[:2]
    if min(height_px, width_px) < MIN_SIDE_PX:
        return [GateReason.TOO_SMALL]
    reasons = []
    if max(height_px, width_px) / min(height_px, width_px) > MAX_ASPECT:
        reasons.append(GateReason.ASPECT)
    if not picture.is_gray and _chroma(picture.pixels) > MAX_CHROMA:
        reasons.append(GateReason.COLOUR)
    contrast = float(cv2.meanStdDev(small)[1][0, 0])
    if contrast < MIN_CONTRAST:
        reasons.append(GateReason.LOW_CONTRAST)
        return reasons
    if not _has_grey_levels(gray):
        reasons.append(GateReason.FEW_GREY_LEVELS)
    middle = small[_TEXTURE_PX // 4 : -_TEXTURE_PX // 4, _TEXTURE_PX // 4 : -_TEXTURE_PX // 4]
    if float(np.mean((middle <= 1) | (middle >= 254))) > MAX_CLIPPED:
        reasons.append(GateReason.CLIPPED)
    coarse = cv2.sepFilter2D(small, cv2.CV_8U, _BLUR, _BLUR)
    if float(cv2.norm(small, coarse, cv2.NORM_L1)) / small.size / contrast > MAX_ROUGHNESS:
        reasons.append(GateReason.NOT_SMOOTH)
    return reasons


def _has_grey_levels(gray: NDArray[np.uint8]) -> bool:
    """Whether enough levels occur; every eighth row and column nearly always has them already."""
    for part in (np.ascontiguousarray(gray[::8, ::8]), gray):
        if np.count_nonzero(cv2.calcHist([part], [0], None, [256], [0, 256])) >= MIN_GREY_LEVELS:
            return True
    return False


def _chroma(pixels: NDArray[np.uint8]) -> float:
    red, green, blue = cv2.split(_squared(pixels, _CHROMA_PX))
    strongest, weakest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return float(cv2.mean(cv2.subtract(strongest, weakest))[0])


def _shrunk(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture at 192 x 192 px, whatever its aspect."""
    return _squared(gray, _TEXTURE_PX)


def _squared(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    halved = halved_to(pixels, side_px)
    # Down to half the size, interpolating leaves no pixel out and takes a quarter of the time.
    sides = halved.shape[:2]
    is_near = min(sides) >= side_px and max(sides) <= 2 * side_px
    way = cv2.INTER_LINEAR if is_near else cv2.INTER_AREA
    return np.asarray(cv2.resize(halved, (side_px, side_px), interpolation=way), np.uint8)


def _thumbnail(small: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The picture in its aspect, 48 px on its longer side, blurred by one of those pixels."""
    height_px, width_px = shape
    scale = _THUMBNAIL_PX / max(height_px, width_px)
    size = (round(width_px * scale), round(height_px * scale))
    thumbnail = cv2.resize(small, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(thumbnail, (0, 0), 1.0), np.float32)


class _View:
    """A thumbnail, and how well the template fits at each place of it: computed once, when asked.

    A negative fits with the opposite sign everywhere.
    """

    def __init__(self, thumbnail: NDArray[np.float32]) -> None:
        self._upright = thumbnail
        self._turned = {0: thumbnail}
        self._fits: dict[tuple[int, int, int], NDArray[np.float32]] = {}
        self._is_negative = False

    def inverted(self) -> "_View":
        """The view of the negative."""
        other = _View(255 - self._upright)
        other._fits, other._is_negative = self._fits, not self._is_negative
        return other

    def turned(self, quarter_turns: int) -> NDArray[np.float32]:
        """The thumbnail, turned left so often."""
        if quarter_turns not in self._turned:
            self._turned[quarter_turns] = np.ascontiguousarray(
                np.rot90(self._upright, quarter_turns)
            )
        return self._turned[quarter_turns]

    def best_place(self, quarter_turns: int, rows: int, columns: int) -> tuple[float, int, int]:
        """The highest correlation with the template of that size, and its row and column."""
        key = (quarter_turns, rows, columns)
        fits = self._fits.get(key)
        if fits is None:
            fits = self._fits[key] = _correlation(self.turned(quarter_turns), rows, columns)
        place = int(fits.argmin() if self._is_negative else fits.argmax())
        correlation = float(fits.flat[place])
        return (-correlation if self._is_negative else correlation, *divmod(place, fits.shape[1]))


def _correlation(thumbnail: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The correlation at each place; a part without any contrast has none."""
    found = cv2.matchTemplate(thumbnail, _template_at(columns, rows), cv2.TM_CCOEFF_NORMED)
    found[~(np.abs(found) <= 1)] = 0.0
    return np.asarray(found, np.float32)


def _best_fit(view: _View) -> _Fit:
    """Fit the template upright and, unless that is certain, on either side."""
    best = _fit(view, 0)
    if best.is_chest and best.evidence >= _UPRIGHT_EVIDENCE:
        return best
    for quarter_turns in (1, 3):
        turned = _fit(view, quarter_turns)
        if turned.evidence > best.evidence:
            best = turned
    return best


def _fit(view: _View, quarter_turns: int) -> _Fit:
    """Slide the template in up to 15 sizes over the thumbnail; keep the highest correlation."""
    thumbnail = view.turned(quarter_turns)
    height_px, width_px = thumbnail.shape
    best = _Fit(-1.0, thumbnail, quarter_turns)
    for height_share, aspect in _TEMPLATE_SIZES:
        rows, columns = round(height_px * height_share), round(width_px * height_share * aspect)
        if columns > width_px or min(rows, columns) < _MIN_TEMPLATE_PX:
            continue
        correlation, top, left = view.best_place(quarter_turns, rows, columns)
        if correlation > best.correlation:
            part = thumbnail[top : top + rows, left : left + columns]
            best = _Fit(correlation, part, quarter_turns)
            if best.is_certain:
                break
    return best


@lru_cache(maxsize=1024)
def _template_at(width_px: int, height_px: int) -> NDArray[np.float32]:
    """The template in one of the few sizes that thumbnails ask for."""
    resized = cv2.resize(_TEMPLATE, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _lung_contrast(part: NDArray[np.float32]) -> float:
    """How much darker the lighter lung is than the midline, in deviations of the part."""
    side = _TEMPLATE_SIDE_PX
    levels = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    deviation = float(cv2.meanStdDev(levels)[1][0, 0])
    if deviation == 0:
        return 0.0
    midline, left, right = (
        cv2.mean(levels[_LUNG_ROWS, columns])[0] for columns in (_MIDLINE, _LEFT, _RIGHT)
    )
    return min(midline - left, midline - right) / deviation
