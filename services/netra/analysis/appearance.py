"""What gate and quality look at, measured once per photograph."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.analysis.field import Field, at_scale, find_field, lit_part
from services.netra.analysis.vessels import (
    DIAMETER_PX,
    local_contrast,
    longest_share,
    vesselness,
)

#: A vessel is this much darker than its surroundings.
VESSEL_CONTRAST = 0.05
_EDGE_PX = 13


@dataclass(frozen=True, slots=True)
class Appearance:
    """One picture in figures; shares and ratios unless a name says otherwise."""

    field: Field
    diameter_px: float
    """Of the field of view, in pixels of the picture as uploaded."""
    roundness: float
    """Overlap of the lit part with the circle around it, cut as the lit part is."""
    fill: float
    """How much of its box the lit part fills: a circle 0.79, a whole picture 1."""
    visible: float
    """How much of the fitted circle is in the picture."""
    picture_share: float
    """The field's diameter over the longer side of the picture."""
    red: float
    green: float
    blue: float
    """Medians inside the field, 0 to 255."""
    saturation: float
    """Median, 0 to 255."""
    warm: float
    """Pixels with more red than green and not less green than blue."""
    vessel_density: float
    vessel_contrast: float
    """How much darker than their surroundings vessels are in green, on average."""
    longest_vessel: float
    absorption: float
    """Contrast of the vessels in red over that in green: blood hides green light, not red."""
    sharpness: float
    """Fine over coarse detail along vessels, each less what noise adds."""
    dark: float
    """Of the field below 40 in every channel."""
    blown: float
    """Of the field at 250 and above in red and green."""
    glare: float
    """Of the field at 235 and above in every channel."""
    shadow: float
    """Of the field where green is less than a third of its median."""


def measure(pixels: NDArray[np.uint8], whole_width_px: int) -> Appearance | None:
    """Measure a picture.

    Args:
        pixels: `(H, W, 3)` RGB.
        whole_width_px: width of the picture as uploaded, of which `pixels` may be a reduction.

    Returns:
        None where there is no lit part large enough to look at.
    """
    lit, scale = lit_part(pixels)
    field = find_field(pixels)
    if field is None or field.diameter_px < 32:
        return None
    cut = at_scale(pixels, field, DIAMETER_PX)
    y0, y1 = int(field.y0 * scale), max(int(np.ceil(field.y1 * scale)), 1)
    x0, x1 = int(field.x0 * scale), max(int(np.ceil(field.x1 * scale)), 1)
    part = lit[y0:y1, x0:x1].astype(np.uint8)
    near = cv2.resize(part, (cut.shape[1], cut.shape[0]), interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(near, np.ones((_EDGE_PX, _EDGE_PX), np.uint8), borderValue=0) > 0
    if inside.sum() < DIAMETER_PX:
        return None
    red, green, blue = (cut[..., channel][inside] for channel in range(3))
    contrast = local_contrast(cut[..., 1], inside)
    strength = vesselness(contrast)
    vessels = (strength > VESSEL_CONTRAST) & inside
    weight = np.where(vessels, strength, 0)
    red_contrast = local_contrast(cut[..., 0], inside)
    darkness = -float((contrast * weight).sum())
    warm = (red > green) & (green.astype(np.int16) + 8 >= blue)
    coarse_green = cv2.blur(cut[..., 1], (DIAMETER_PX // 16, DIAMETER_PX // 16))[inside]
    hsv = cv2.cvtColor(cut, cv2.COLOR_RGB2HSV)
    round_share, visible = _roundness(lit)
    return Appearance(
        field=field,
        diameter_px=field.diameter_px * whole_width_px / pixels.shape[1],
        roundness=round_share,
        fill=float(part.mean()),
        visible=visible,
        picture_share=field.diameter_px / max(pixels.shape[:2]),
        red=float(np.median(red)),
        green=float(np.median(green)),
        blue=float(np.median(blue)),
        saturation=float(np.median(hsv[..., 1][inside])),
        warm=float(warm.mean()),
        vessel_density=float(vessels.sum() / inside.sum()),
        vessel_contrast=float(strength[vessels].mean()) if vessels.any() else 0.0,
        longest_vessel=longest_share(vessels),
        absorption=-float((red_contrast * weight).sum()) / darkness if darkness > 0 else 1.0,
        sharpness=_sharpness(cut[..., 1], vessels, inside),
        dark=float((cut.max(axis=2)[inside] < 40).mean()),
        blown=float((np.minimum(red, green) >= 250).mean()),
        glare=float((cut.min(axis=2)[inside] >= 235).mean()),
        shadow=float((coarse_green < np.median(green) / 3).mean()),
    )


def _roundness(lit: NDArray[np.bool_]) -> tuple[float, float]:
    """How circular the lit part is where the picture does not cut it, and how much is visible."""
    outlines, _ = cv2.findContours(lit.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)[:, 0].astype(np.float64)
    height, width = lit.shape
    x, y = outline[:, 0], outline[:, 1]
    free = (x > 2) & (x < width - 3) & (y > 2) & (y < height - 3)
    if free.sum() < 40:
        return 0.0, 1.0
    centre_x, centre_y, radius = _fitted_circle(outline[free])
    rows, columns = np.mgrid[:height, :width]
    disc = (columns - centre_x) ** 2 + (rows - centre_y) ** 2 <= radius**2
    disc &= (columns >= x.min()) & (columns <= x.max()) & (rows >= y.min()) & (rows <= y.max())
    together, either = (disc & lit).sum(), (disc | lit).sum()
    return float(together / either), float(lit.sum() / (np.pi * radius**2))


def _fitted_circle(points: NDArray[np.float64]) -> tuple[float, float, float]:
    """The circle through most points: least squares, then again without the farthest ones.

    Source:
        Kasa, "A circle fitting procedure and its error analysis", IEEE Transactions on
        Instrumentation and Measurement, 1976.
    """
    x = y = radius = 0.0
    for keep in (1.0, 0.8, 0.7):
        if radius:
            off = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
            points = points[off <= np.quantile(off, keep)]
        system = np.column_stack([2 * points, np.ones(len(points))])
        (x, y, rest), *_ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
        radius = float(np.sqrt(max(rest + x * x + y * y, 1.0)))
    return float(x), float(y), radius


def _sharpness(
    plane: NDArray[np.uint8], vessels: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> float:
    """Energy of fine detail over that of coarse detail on vessels, less that beside them."""
    if vessels.sum() < 200:
        return 0.0
    blurred = [cv2.GaussianBlur(plane.astype(np.float32), (0, 0), s) for s in (0.8, 1.6, 3.2)]
    near = cv2.dilate(vessels.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    beside = inside & ~cv2.dilate(near.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    if beside.sum() < 200:
        beside = inside & ~near
    energies = []
    for finer, coarser in ((blurred[0], blurred[1]), (blurred[1], blurred[2])):
        band = np.square(finer - coarser)
        # The median resists the few lesions that lie beside vessels.
        noise = float(np.median(band[beside]) * 2.2) if beside.any() else 0.0
        energies.append(max(float(band[near & inside].mean()) - noise, 0.0))
    return float(np.sqrt(energies[0] / energies[1])) if energies[1] > 0 else 0.0
