"""The 54 outlined photographs of IDRiD, brought to the network's scale, and patches of them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.analysis.field import at_scale, find_field, levelled

DIAMETER_PX = 1280
PATCH_PX = 256
MASKS = ("MA", "HE", "EX", "SE")
PHOTOGRAPHS = 54
#: How often a patch is cut around a lesion of each type; else anywhere.
_AROUND = (0.32, 0.22, 0.16, 0.15)
#: How often the photograph is shown as its 960 px copy would be.
_SOFT_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Outlined:
    """One photograph and its outlines, both at the network's scale."""

    number: int
    sharp: NDArray[np.uint8]
    """`(H, W, 3)`, levelled."""
    soft: NDArray[np.uint8]
    """The same from a copy 960 px wide, as screening archives keep them."""
    masks: NDArray[np.uint8]
    """`(4, H, W)`, 255 inside a lesion."""
    places: tuple[NDArray[np.int32], ...]
    """Per lesion type rows and columns of its pixels, `(n, 2)`."""


def load_outlined(assets: Path, cache: Path) -> list[Outlined]:
    """Read all photographs; the first time this takes minutes."""
    cache.mkdir(parents=True, exist_ok=True)
    return [_load(assets / "idrid" / "lesions", cache, i) for i in range(1, PHOTOGRAPHS + 1)]


def _load(folder: Path, cache: Path, number: int) -> Outlined:
    stored = cache / f"{number:02d}.npz"
    if not stored.exists():
        _prepare(folder, number, stored)
    with np.load(stored) as arrays:
        sharp, soft, masks = arrays["sharp"], arrays["soft"], arrays["masks"]
    places = tuple(np.argwhere(mask > 127).astype(np.int32) for mask in masks)
    return Outlined(number, sharp, soft, masks, places)


def _prepare(folder: Path, number: int, stored: Path) -> None:
    pixels = read_rgb(folder / f"IDRiD_{number:02d}.jpg")
    field = find_field(pixels)
    if field is None:
        raise ValueError(f"photograph {number} has no field of view")
    sharp = at_scale(pixels, field, DIAMETER_PX)
    size = sharp.shape[1], sharp.shape[0]
    small = cv2.resize(pixels, (960, 960 * pixels.shape[0] // pixels.shape[1]), interpolation=3)
    _, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    small = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
    small_field = find_field(small)
    if small_field is None:
        raise ValueError(f"photograph {number} has no field of view at 960 px")
    soft = cv2.resize(at_scale(small, small_field, DIAMETER_PX), size)
    masks = []
    for name in MASKS:
        path = folder / f"IDRiD_{number:02d}_{name}.png"
        mask = (
            (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8) * 255
            if path.exists()
            else np.zeros(pixels.shape[:2], np.uint8)
        )
        cut = mask[field.y0 : field.y1, field.x0 : field.x1]
        masks.append(cv2.resize(cut, size, interpolation=cv2.INTER_AREA))
    np.savez(stored, sharp=levelled(sharp), soft=levelled(soft), masks=np.stack(masks))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture as `(H, W, 3)` RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(path)
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`(..., H, W, 3)` of 0 to 255 as `(..., 3, H, W)` in [-1, 1]."""
    return np.moveaxis(pixels.astype(np.float32) / 127.5 - 1.0, -1, -3)


def draw_batch(
    photographs: list[Outlined], size: int, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut, turn and recolour patches, most of them around lesions.

    Returns:
        `(size, 3, 256, 256)` in about [-1, 1] and `(size, 4, 256, 256)` in 0 to 1.
    """
    patches, targets = zip(*(_draw(photographs, random) for _ in range(size)), strict=True)
    return np.stack(patches), np.stack(targets)


def _draw(
    photographs: list[Outlined], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    chance = random.random()
    kind = int(np.searchsorted(np.cumsum(_AROUND), chance))
    eligible = photographs
    if kind < len(MASKS):
        eligible = [p for p in photographs if len(p.places[kind])]
    photograph = eligible[random.integers(len(eligible))]
    height, width = photograph.masks.shape[1:]
    if kind < len(MASKS):
        places = photograph.places[kind]
        row, column = places[random.integers(len(places))]
        row, column = (v + random.integers(-90, 91) for v in (row, column))
    else:
        row, column = random.integers(height), random.integers(width)
    matrix = cv2.getRotationMatrix2D(
        (float(column), float(row)), random.uniform(0, 360), random.uniform(0.8, 1.3)
    )
    matrix[:, 2] += PATCH_PX / 2 - np.array([column, row])
    if random.random() < 0.5:
        matrix = np.array([[-1.0, 0, PATCH_PX - 1], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
    side = (PATCH_PX, PATCH_PX)
    source = photograph.soft if random.random() < _SOFT_SHARE else photograph.sharp
    pixels = cv2.warpAffine(source, matrix, side, borderValue=(128, 128, 128))
    planes = cv2.warpAffine(np.moveaxis(photograph.masks, 0, -1), matrix, side)
    patch = normalised(np.asarray(pixels, np.uint8))
    gain = random.uniform(0.75, 1.3) * random.uniform(0.9, 1.1, (3, 1, 1))
    shift = random.normal(0, 0.06) + random.normal(0, 0.04, (3, 1, 1))
    patch = np.clip(patch * gain + shift, -1.2, 1.2).astype(np.float32)
    return patch, np.moveaxis(planes.astype(np.float32) / 255.0, -1, 0)
