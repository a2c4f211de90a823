"""Where pupil and iris lie in a picture of one eye taken near infrared, and what covers them.

Source:
    Daugman, "How iris recognition works", IEEE CSVT 14(1), 2004: circles at which the mean
    brightness changes most from one radius to the next.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Real = NDArray[np.float64]

ANGLES = 256
_WORK_PX = 160
_ROWS = 32
_DARKEST_SHARES = (0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.11)
_FIT_ROUNDS = 4
# Differences in gray that texture alone may make.
_LEAST_COVER = 20.0
# Sectors in which eyelids do not lie: 45 degrees around the horizontal on both sides.
_SIDE = np.pi / 4


@dataclass(frozen=True, slots=True)
class Circle:
    """A boundary in pixels of the picture."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Eye:
    """One segmented eye.

    Attributes:
        pupil: the circle that fits its boundary best.
        iris: the same for the boundary to the sclera.
        pupil_radii: `(256,)`: the pupil's boundary along rays from its centre, 0 where none shows.
        covered: `(H, W)`: True on lids, lashes and reflections inside the iris, and nowhere else.
    """

    pupil: Circle
    iris: Circle
    pupil_radii: Real
    covered: NDArray[np.bool_]


def segment(gray: Gray) -> Eye | None:
    """Find one eye, or None where nothing looks like a pupil inside an iris.

    Args:
        gray: `(H, W)`.
    """
    pupil = _find_pupil(gray)
    if pupil is None:
        return None
    smooth = cv2.GaussianBlur(gray, (0, 0), max(0.8, pupil.radius / 20)).astype(np.float64)
    pupil, radii = _refine_pupil(smooth, pupil)
    iris = _find_iris(smooth, pupil)
    if iris is None:
        return None
    return Eye(pupil, iris, radii, _find_covered(gray, pupil, iris))


def _find_pupil(gray: Gray) -> Circle | None:
    """The roundest dark patch, its reflections filled in."""
    scale = min(1.0, _WORK_PX / max(gray.shape))
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(np.asarray(small, np.uint8), 5)
    darkest = float(np.quantile(small, _DARKEST_SHARES[0] / 2))
    best, best_score = None, 0.0
    for share in _DARKEST_SHARES:
        level = float(np.quantile(small, share)) + 8
        dark = np.asarray(small <= level, np.uint8)
        outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            area = float(cv2.contourArea(outline))
            (x, y), radius = cv2.minEnclosingCircle(outline)
            if area < 30 or radius > 0.3 * min(size):
                continue
            roundness = area / (np.pi * radius * radius)
            left, top, width, height = cv2.boundingRect(outline)
            if left == 0 or top == 0 or left + width == size[0] or top + height == size[1]:
                roundness *= 0.5
            away = np.hypot(x - size[0] / 2, y - size[1] / 2) / max(size)
            inside = np.zeros_like(small)
            cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED)
            # The whole iris is a round dark patch too, but not as dark.
            paler = float(np.median(small[inside > 0])) - darkest
            score = roundness * (1 - 0.5 * away) * min(1.0, radius / 8) * np.exp(-paler / 25)
            if roundness > 0.55 and score > best_score:
                best_score = float(score)
                best = Circle(
                    (x + 0.5) / scale - 0.5,
                    (y + 0.5) / scale - 0.5,
                    float(np.sqrt(area / np.pi)) / scale,
                )
    return best


def sample_rays(picture: Real, circle: Circle, radii: Real, angles: Real) -> Real:
    """Brightness along rays from a circle's centre, between pixels as between four neighbours.

    Returns:
        `(angles, radii)`; not a number outside the picture.
    """
    x = circle.x + np.outer(np.cos(angles), radii)
    y = circle.y + np.outer(np.sin(angles), radii)
    sampled = cv2.remap(
        picture.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return np.asarray(sampled, np.float64)


def _angles() -> Real:
    return np.asarray(np.arange(ANGLES) * (2 * np.pi / ANGLES), np.float64)


def _refine_pupil(smooth: Real, pupil: Circle) -> tuple[Circle, Real]:
    """Fit a circle to the steepest rise of brightness along each ray, a few times."""
    angles = _angles()
    found = np.zeros(ANGLES)
    for _ in range(_FIT_ROUNDS):
        radii = np.arange(0.4 * pupil.radius, 1.7 * pupil.radius, 0.25)
        rise = np.gradient(sample_rays(smooth, pupil, radii, angles), axis=1)
        rise = np.where(np.isfinite(rise), rise, -np.inf)
        place = rise.argmax(axis=1)
        found = np.where(rise.max(axis=1) > 0, radii[place], 0.0)
        typical = float(np.median(found[found > 0])) if (found > 0).any() else pupil.radius
        # A reflection on the boundary gives a ray that ends too early or too late.
        found[np.abs(found - typical) > 0.25 * typical] = 0.0
        fitted = _fit_circle(pupil, angles, found)
        if fitted is None:
            break
        pupil = fitted
    # The last fit moved the centre; radii are measured from where it is.
    x = np.cos(angles) * found
    y = np.sin(angles) * found
    return pupil, np.where(found > 0, np.hypot(x, y), 0.0)


def _fit_circle(around: Circle, angles: Real, radii: Real) -> Circle | None:
    """The least-squares circle through the ends of rays; None with too few of them.

    Source:
        Kåsa, "A circle fitting procedure and its error analysis", IEEE TIM 25, 1976.
    """
    seen = radii > 0
    if int(seen.sum()) < ANGLES // 8:
        return None
    x = around.x + np.cos(angles[seen]) * radii[seen]
    y = around.y + np.sin(angles[seen]) * radii[seen]
    circle = _least_squares(x, y)
    if circle is None:
        return None
    # Lashes and reflections pull the circle their way: once more without what lies far from it.
    away = np.abs(np.hypot(x - circle.x, y - circle.y) - circle.radius)
    near = away <= max(1.0, 2.5 * float(np.median(away)))
    return _least_squares(x[near], y[near]) or circle


def _least_squares(x: Real, y: Real) -> Circle | None:
    design = np.stack([x, y, np.ones_like(x)], axis=1)
    solved, *_ = np.linalg.lstsq(design, x * x + y * y, rcond=None)
    centre_x, centre_y = solved[0] / 2, solved[1] / 2
    square = solved[2] + centre_x**2 + centre_y**2
    if not np.isfinite(square) or square <= 0:
        return None
    return Circle(float(centre_x), float(centre_y), float(np.sqrt(square)))


def _find_iris(smooth: Real, pupil: Circle) -> Circle | None:
    """The circle at which both sides get brighter most, its centre near the pupil's."""
    height, width = smooth.shape
    most = min(8 * pupil.radius, 0.75 * max(height, width))
    least = 1.25 * pupil.radius
    if most - least < 4:
        return None
    side = np.concatenate([np.linspace(-_SIDE, _SIDE * 0.7, 48), np.linspace(-_SIDE, _SIDE, 48)])
    side[:48] = np.linspace(-_SIDE * 0.6, _SIDE, 48)
    side[48:] = np.pi - np.linspace(-_SIDE * 0.6, _SIDE, 48)
    best, best_rise = None, 0.0
    step = max(1.0, pupil.radius / 12)
    radii = np.arange(least, most, 0.5)
    for across in np.arange(-4, 5) * step:
        for down in np.arange(-2, 3) * step:
            centre = Circle(float(pupil.x + across), float(pupil.y + down), 0.0)
            rays = sample_rays(smooth, centre, radii, side)
            with np.errstate(invalid="ignore"):
                rises = [_rise(half) for half in (rays[:48], rays[48:])]
            both = np.minimum(rises[0], rises[1]) + 0.25 * np.maximum(rises[0], rises[1])
            place = int(np.argmax(both))
            if both[place] > best_rise:
                best_rise = float(both[place])
                best = Circle(centre.x, centre.y, float(radii[place]))
    return best


def _rise(rays: Real) -> Real:
    """How much brighter each radius is than those just inside, on the median ray."""
    seen = np.isfinite(rays)
    enough = seen.mean(axis=0) > 0.3
    filled = np.where(seen, rays, 0.0)
    mean = filled.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    reach = 6
    rise = np.zeros_like(mean)
    inner = np.convolve(mean, np.ones(reach) / reach, mode="valid")
    rise[reach:-reach] = (
        inner[reach + 1 :][: len(mean) - 2 * reach] - inner[: len(mean) - 2 * reach]
    )
    rise[~enough] = 0.0
    return np.asarray(rise, np.float64)


def _find_covered(gray: Gray, pupil: Circle, iris: Circle) -> NDArray[np.bool_]:
    """Pixels of the iris whose brightness is not that of its sides: lids, lashes, reflections."""
    ring = ring_mask(gray.shape, iris, pupil.radius * 1.05, iris.radius * 0.98, pupil)
    covered = np.zeros(gray.shape, np.bool_)
    y, x = np.nonzero(ring)
    if not len(x):
        return covered
    angle = np.abs(np.arctan2(y - iris.y, np.abs(x - iris.x)))
    values = cv2.GaussianBlur(gray, (0, 0), max(0.8, iris.radius / 30))[y, x].astype(np.float64)
    side = values[angle < np.pi / 6]
    if len(side) < 20:
        side = values
    middle = float(np.median(side))
    spread = max(6.0, 1.4826 * float(np.median(np.abs(side - middle))))
    covered[y, x] = np.abs(values - middle) > max(_LEAST_COVER, 2.5 * spread)
    # Between lashes, which are as dark as an iris, there is lid.
    size = max(5, int(0.15 * iris.radius) | 1)
    round_kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    grown = cv2.morphologyEx(covered.astype(np.uint8), cv2.MORPH_CLOSE, round_kernel)
    return np.asarray((grown > 0) & ring, np.bool_)


def ring_mask(
    shape: tuple[int, ...], circle: Circle, inner: float, outer: float, hole: Circle | None = None
) -> NDArray[np.bool_]:
    """Pixels between two radii of a circle; the inner radius may be that of another circle."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(x - circle.x, y - circle.y)
    within = distance if hole is None else np.hypot(x - hole.x, y - hole.y)
    return np.asarray((distance <= outer) & (within >= inner), np.bool_)
