"""Quality of one iris, by image processing alone, in two modes.

`iso` follows ISO/IEC 29794-6; `biqt-compat` repeats what BIQT-Iris does differently.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.assessment import Assessment, Profile, Unassessable
from services.bqat.engines.iris import metrics
from services.bqat.engines.iris.biqt import biqt_measures, biqt_quality
from services.bqat.engines.iris.segmentation import Eye, ring_mask, segment
from services.bqat.engines.samples import Sample

ISO, BIQT = "iso", "biqt-compat"
_MODES = {"iso": ISO, "bqat": ISO, "default": ISO, "biqt": BIQT, "biqt-compat": BIQT}
_LARGEST_PX = 2_000
_SMALLEST_PX = 64


def assess_iris(sample: Sample, *, engine: str | None, options: Mapping[str, Any]) -> Assessment:
    """Profile one picture of an eye.

    Args:
        sample: near infrared; colour pictures are turned gray.
        engine: `iso` or `biqt-compat` (also `biqt`); None for what `options["iris_mode"]` says.
        options: `iris_mode` is looked at.

    Raises:
        Unassessable: there is no such mode, or the picture is too small or too large.
    """
    wanted = engine or options.get("iris_mode") or ISO
    mode = _MODES.get(str(wanted).lower())
    if mode is None:
        raise Unassessable(f"irises are not assessed by an engine {str(wanted)[:40]!r}")
    gray = sample.to_gray()
    if min(gray.shape) < _SMALLEST_PX or max(gray.shape) > _LARGEST_PX:
        raise Unassessable(
            f"the picture is {gray.shape[1]} x {gray.shape[0]} px; irises are assessed between "
            f"{_SMALLEST_PX} and {_LARGEST_PX} px"
        )
    notes = ["convert: colour -> gray"] if sample.pixels.ndim == 3 else []
    eye = segment(gray)
    profile: Profile
    if eye is None:
        notes.append("segmentation: no iris found")
        profile = {"quality": 0.0, **biqt_measures(gray, None)}
    else:
        profile = _profile(gray, eye, compat=mode == BIQT)
    profile["image_width"], profile["image_height"] = float(gray.shape[1]), float(gray.shape[0])
    rounded_profile: Profile = {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in profile.items()
    }
    return Assessment(rounded_profile, "rules", tuple(notes))


def _profile(gray: NDArray[np.uint8], eye: Eye, *, compat: bool) -> Profile:
    iso = iso_metrics(gray, eye, compat=compat)
    normalised = normalised_metrics(iso, eye, compat=compat)
    overall = 100 * math.prod(
        value
        for name, value in normalised.items()
        # BIQT-Iris leaves these three out.
        if not (compat and name in ("iris_pupil_ratio", "usable_iris_area", "iris_diameter"))
    )
    own = biqt_measures(gray, eye)
    quality = biqt_quality(own, iso) if compat else overall
    profile: Profile = {"quality": float(int(quality)) if compat else quality}
    profile.update(own)
    profile.update({f"iso_{name}": value for name, value in iso.items()})
    profile["iso_overall_quality"] = float(int(overall)) if compat else overall
    profile.update({f"normalized_iso_{name}": value for name, value in normalised.items()})
    profile["iris_center_x"], profile["iris_center_y"] = eye.iris.x, eye.iris.y
    profile["pupil_center_x"], profile["pupil_center_y"] = eye.pupil.x, eye.pupil.y
    profile["pupil_diameter"], profile["pupil_radius"] = 2 * eye.pupil.radius, eye.pupil.radius
    if compat:
        profile["approx"] = "quality,pupil_circularity_avg_deviation"
    return profile


def iso_metrics(gray: NDArray[np.uint8], eye: Eye, *, compat: bool) -> dict[str, float]:
    """The nine metrics of the standard, under the names that BIQT-Iris gave them."""
    found = metrics.levels(gray, eye, compat=compat)
    height_px, width_px = gray.shape
    mean = float(eye.pupil_radii[eye.pupil_radii > 0].mean()) if eye.pupil_radii.any() else 1.0
    inside = ring_mask(gray.shape, eye.iris, eye.pupil.radius, eye.iris.radius, eye.pupil)
    values = gray if compat else gray[inside & ~eye.covered]
    return {
        "greyscale_utilization": metrics.greyscale_utilisation(values),
        "iris_pupil_concentricity": metrics.concentricity(eye),
        "iris_pupil_contrast": metrics.pupil_contrast(found),
        "iris_pupil_ratio": metrics.pupil_ratio(eye),
        "iris_sclera_contrast": metrics.sclera_contrast(found),
        "margin_adequacy": metrics.margin_adequacy(eye.iris, width_px, height_px, compat=compat),
        "pupil_boundary_circularity": metrics.boundary_circularity(eye.pupil_radii / mean),
        "sharpness": metrics.sharpness(gray, compat=compat),
        "usable_iris_area": metrics.usable_area(eye),
    }


def normalised_metrics(iso: Mapping[str, float], eye: Eye, *, compat: bool) -> dict[str, float]:
    """Each metric as 0 to 1: how much of what the standard expects is there.

    The standard sets thresholds and no such scale: in `iso` a metric below its threshold counts by
    its share of it. BIQT-Iris sets its own for three and leaves the others at one.
    """
    if compat:
        return {
            "sharpness": min(1.0, iso["sharpness"] / 3),
            "iris_pupil_ratio": 1.0,
            "iris_pupil_contrast": 1.0,
            "iris_sclera_contrast": min(1.0, iso["iris_sclera_contrast"] / 15),
            "margin_adequacy": 1.0 if iso["margin_adequacy"] >= 80 else 0.0,
            "greyscale_utilization": 1.0,
            "iris_pupil_concentricity": 1.0,
            "usable_iris_area": 1.0,
            "iris_diameter": 1.0,
        }
    return {
        "sharpness": min(1.0, iso["sharpness"] / 3),
        "iris_pupil_ratio": 1.0 if 20 <= iso["iris_pupil_ratio"] <= 70 else 0.0,
        "iris_pupil_contrast": min(1.0, iso["iris_pupil_contrast"] / 30),
        "iris_sclera_contrast": min(1.0, iso["iris_sclera_contrast"] / 5),
        "margin_adequacy": min(1.0, iso["margin_adequacy"] / 80),
        "greyscale_utilization": min(1.0, iso["greyscale_utilization"] / 6),
        "iris_pupil_concentricity": min(1.0, iso["iris_pupil_concentricity"] / 90),
        "usable_iris_area": min(1.0, iso["usable_iris_area"] / 70),
        "iris_diameter": min(1.0, 2 * eye.iris.radius / 160),
    }
