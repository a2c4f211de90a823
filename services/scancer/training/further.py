"""Further patches to learn from, made of the labelled ones: moved tissue, and mixtures.

Nobody has labelled them: moving a patch brings other tissue into the middle, which decides. The
teacher says what it thinks of each, and the network learns to answer as the teacher does, on many
more patches than there are labels.

Source:
    Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022.
    Mixtures: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from services.scancer.training.patches import SIDE_PX

#: How many are made of each labelled patch; the last of them is a mixture of two.
PER_PATCH = 4
_SHIFT_PX = 22
#: The deviation of the logarithm of the scale.
_ZOOM = 0.07
_BLEND = (0.3, 0.7)
_WINDOW_PX = (24, 80)


def further_patches(
    pixels: NDArray[np.uint8], fold: NDArray[np.intp], random: Generator
) -> NDArray[np.uint8]:
    """Make further patches.

    Args:
        pixels: `(N, 96, 96, 3)`, 0 to 255.
        fold: `(N,)`; both halves of a mixture are of one fold, so that none is of two.
        random: where the changes come from.

    Returns:
        `(4 * N, 96, 96, 3)`; row i is made of patch i % N.
    """
    count = len(pixels)
    made = np.zeros((PER_PATCH * count, *pixels.shape[1:]), np.uint8)
    for turn in range(PER_PATCH):
        for row, patch in enumerate(pixels):
            new = moved(patch, random)
            if turn == PER_PATCH - 1:
                same = np.flatnonzero(fold == fold[row])
                first = patch if random.random() < 0.5 else new
                new = mixed(first, moved(pixels[random.choice(same)], random), random)
            made[turn * count + row] = new
    return made


def moved(patch: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
    """Turn by any angle, zoom a little and shift; what is missing at the rim is mirrored."""
    angle = random.uniform(0, 360)
    scale = np.exp(random.normal(0, _ZOOM))
    shift = random.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
    middle = (SIDE_PX - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle, scale)
    matrix[:, 2] += shift
    warped = cv2.warpAffine(
        patch,
        matrix,
        (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, np.uint8)


def mixed(
    first: NDArray[np.uint8], second: NDArray[np.uint8], random: Generator
) -> NDArray[np.uint8]:
    """Blend two patches, or put a window of the second into the first."""
    if random.random() < 0.5:
        share = random.uniform(*_BLEND)
        blended = share * first.astype(np.float32) + (1 - share) * second
        return np.asarray(np.round(blended), np.uint8)
    height, width = random.integers(*_WINDOW_PX, 2)
    top = random.integers(0, SIDE_PX - height + 1)
    left = random.integers(0, SIDE_PX - width + 1)
    window = np.s_[top : top + height, left : left + width]
    made = first.copy()
    made[window] = second[window]
    return made
