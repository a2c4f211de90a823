"""What the lesion networks say of every pixel of a photograph, for those who measure them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.netra.domain import Lesion


@dataclass(frozen=True, slots=True)
class Outlines:
    """Where lesions are.

    Attributes:
        probability: `(4, H, W)` in the order of `LesionType`, over the whole upright picture.
        lesions: what is reported, with its score.
    """

    probability: NDArray[np.float32]
    lesions: Sequence[Lesion]
