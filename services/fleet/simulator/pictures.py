"""What simulated cameras see: pictures of a folder, or drawn ones that differ each time."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

_SIDE_PX: Final = 640
_QUALITY: Final = 85


def pictures(folder: Path | None, *, seed: int = 0) -> Iterator[bytes]:
    """JPEG pictures for ever.

    Raises:
        ValueError: the folder holds no JPEG.
    """
    if folder is None:
        return drawn(seed)
    found = [path.read_bytes() for path in sorted(folder.glob("*.jp*g"))]
    if not found:
        raise ValueError(f"{folder} holds no JPEG picture")
    return itertools.islice(itertools.cycle(found), seed % len(found), None)


def drawn(seed: int) -> Iterator[bytes]:
    """A face-like drawing that moves and blinks, in front of noise; about 60 KB each."""
    noise = np.random.default_rng(seed)
    backgrounds = [_background(noise) for _ in range(4)]
    for number in itertools.count():
        frame = np.roll(backgrounds[number % 4], 7 * number % _SIDE_PX, axis=1)
        x = _SIDE_PX // 2 + int(60 * np.sin(number / 9 + seed))
        y = _SIDE_PX // 2 + int(20 * np.cos(number / 7 + seed))
        cv2.ellipse(frame, (x, y), (130, 170), 0, 0, 360, (150, 170, 200), -1)
        height = 2 if number % 20 == 0 else 14
        for side in (-50, 50):
            cv2.ellipse(frame, (x + side, y - 40), (24, height), 0, 0, 360, (40, 40, 40), -1)
        cv2.ellipse(frame, (x, y + 80), (45, 12), 0, 0, 360, (70, 60, 140), -1)
        # The number makes each picture one of its own.
        text = f"{seed}/{number}"
        cv2.putText(frame, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
        _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        yield encoded.tobytes()


def _background(noise: np.random.Generator) -> np.ndarray:
    coarse = noise.integers(40, 120, (_SIDE_PX // 4, _SIDE_PX // 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR))
