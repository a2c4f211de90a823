"""Which gate a network's pictures pass, and what it says."""

import numpy as np

from services.scancer.gate import check_patch
from services.scancer.prediction import Verdict
from shared.imaging import Picture
from shared.inference import Manifest


def judge(manifest: Manifest, picture: Picture) -> Verdict | None:
    """The verdict of the gate that the package names; None where it names none."""
    if manifest.gate is None:
        return None
    pixels = picture.pixels
    colours = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    gate = check_patch(colours)
    return Verdict(gate.accepted, tuple(str(reason) for reason in gate.reasons))
