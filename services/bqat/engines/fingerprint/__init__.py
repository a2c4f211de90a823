"""Quality of one plain fingerprint at 500 ppi: NFIQ 2's measures, flags and perhaps score."""

import numpy as np

from services.bqat.engines.assessment import Assessment, Profile, rounded
from services.bqat.engines.fingerprint.blocks import Gray, regions, ridge_mask, without_white_frame
from services.bqat.engines.fingerprint.executable import Nfiq2
from services.bqat.engines.fingerprint.foreground import coherence, find_foreground
from services.bqat.engines.fingerprint.mapping import MAPPED, to_quality_block
from services.bqat.engines.fingerprint.measures import (
    block_measures,
    contrast,
    orientation_certainties,
    summarise,
)
from services.bqat.engines.fingerprint.minutiae import find_minutiae, minutiae_measures
from services.bqat.engines.samples import Sample

#: The largest picture, after its white frame is gone, for which NFIQ 2 is defined.
MAX_WIDTH_PX, MAX_HEIGHT_PX = 800, 1000
_UNIFORM_BELOW, _EMPTY_ABOVE = 1.0, 250.0
_FEWEST_BLOCKS = 10
_APPROX_FLAGS = ("fingerprint_image_with_minutiae", "FingerprintImageWithMinutiae")


def assess_fingerprint(sample: Sample, nfiq2: Nfiq2 | None) -> Assessment:
    """Profile one fingerprint; `NFIQ2` is None where the program is not installed or refuses."""
    gray = sample.to_gray()
    errors: list[str] = []
    if sample.format not in ("png", "bmp", "jpeg"):
        errors.append(
            f"converted: {'jp2' if sample.format == 'jpeg2000' else sample.format} -> png"
        )
    flags: dict[str, float] = {
        "uniform_image": float(gray.std()),
        "empty_image_or_contrast_too_low": float(gray.mean()),
    }
    native: dict[str, float] = {}
    if flags["uniform_image"] < _UNIFORM_BELOW or flags["empty_image_or_contrast_too_low"] > (
        _EMPTY_ABOVE
    ):
        errors.append("nfiq2: the picture is empty, of one gray, or has too little contrast")
    else:
        cropped = without_white_frame(gray)
        if cropped is None:
            errors.append("nfiq2: all rows or columns are blank")
        elif cropped.shape[1] > MAX_WIDTH_PX or cropped.shape[0] > MAX_HEIGHT_PX:
            errors.append(
                f"nfiq2: {cropped.shape[1]} x {cropped.shape[0]} px without its white frame; the "
                f"measures are defined up to {MAX_WIDTH_PX} x {MAX_HEIGHT_PX}"
            )
        else:
            native = native_measures(cropped, flags, errors)
    score = None
    if nfiq2 is not None:
        answer = nfiq2.score(gray)
        score = answer.score
        if answer.error is not None:
            errors.append(f"nfiq2: {answer.error}")
    mapped = {
        f"QB_{name}": to_quality_block(name, native[name]) for name in native if name in MAPPED
    }
    profile: Profile = {"NFIQ2": score}
    profile.update(rounded(flags, 5))
    profile["quantized"] = int(sample.pixels.ndim == 3)
    profile["resampled"] = 0
    profile["edge_std"] = round(float(np.mean(gray[:, [0, -1]].std(axis=0))), 5)
    profile["image_width"], profile["image_height"] = sample.width_px, sample.height_px
    profile.update(rounded(native, 5))
    profile.update(mapped)
    approx = [name for name in profile if is_approximate(name)]
    if approx:
        profile["approx"] = ",".join(approx)
    return Assessment(profile, "rules", tuple(errors))


def native_measures(image: Gray, flags: dict[str, float], errors: list[str]) -> dict[str, float]:
    """NFIQ 2's measures of a picture without its white frame; adds the flags that come with them.

    Args:
        image: `(H, W)`, ridges dark, 500 ppi.
        flags: gets the flags that NFIQ 2 takes from the cropped picture.
        errors: gets what could not be measured.
    """
    flags["uniform_image"] = float(image.std())
    flags["empty_image_or_contrast_too_low"] = float(image.mean())
    grid = list(regions(image, ridge_mask(image)))
    figures = block_measures(grid) | {"OCL": orientation_certainties(image)}
    foreground = find_foreground(image)
    minutiae = minutiae_measures(image, find_minutiae(image, foreground.mask))
    flags["fingerprint_image_with_minutiae"] = minutiae["FingerJetFX_MinutiaeCount"]
    flags["sufficient_fingerprint_foreground"] = foreground.pixels
    native: dict[str, float] = {}
    for name in ("FDA", "LCS", "OCL", "OF", "RVUP"):
        if not figures[name] or (name == "FDA" and len(figures[name]) < _FEWEST_BLOCKS):
            errors.append(f"nfiq2: {name} needs more blocks with ridges than the picture has")
            continue
        native.update(summarise(name, figures[name]))
    native.update(minutiae)
    native["ImgProcROIArea_Mean"] = foreground.mean
    native.update(contrast(image))
    native.update(coherence(image, foreground))
    return native


def is_approximate(name: str) -> bool:
    """Whether a measure counts or places minutiae, which are not NFIQ 2's own here."""
    return name in _APPROX_FLAGS or "FingerJetFX" in name or "FJFXPos" in name
