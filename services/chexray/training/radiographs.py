"""The training pictures and labels: NIH ChestX-ray14 frontal radiographs.

Source:
    Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on
    Weakly-Supervised Classification and Localization of Common Thorax Diseases", CVPR 2017.
    The labels were mined from report text by the authors and are noisy.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

LABELS = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion")
COLUMNS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")

# Other text-mined findings with enough positives; they only steer the features while training.
AUXILIARY_FINDINGS = (
    "Infiltration",
    "No Finding",
    "Nodule",
    "Mass",
    "Pleural_Thickening",
    "Fibrosis",
    "Pneumothorax",
    "Emphysema",
    "Pneumonia",
)

SIDE_PX = 224


@dataclass(frozen=True, slots=True)
class Radiographs:
    """The data set in memory.

    Attributes:
        pictures: N grey pictures, as decoded.
        targets: `(N, 5)`, 0 or 1, in the order of `LABELS`.
        auxiliary: `(N, 12)` further targets: the findings above, sex, view AP, age / 100.
        patients: `(N,)` identifiers, to keep a patient on one side of a split.
        anteroposterior: `(N,)`, whether the view is AP (else PA).
    """

    pictures: list[Image.Image]
    targets: NDArray[np.float32]
    auxiliary: NDArray[np.float32]
    patients: NDArray[np.int64]
    anteroposterior: NDArray[np.bool_]


def load_radiographs(assets: Path) -> Radiographs:
    """Read `chest_xray/labels.csv` and the pictures it names."""
    folder = assets / "chest_xray"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = []
    for row in rows:
        with Image.open(folder / "nih512" / row["file"]) as picture:
            pictures.append(picture.convert("L"))
    auxiliary = [
        [float(name in row["findings"].split("|")) for name in AUXILIARY_FINDINGS]
        + [float(row["sex"] == "M"), float(row["view"] == "AP"), min(int(row["age"]), 100) / 100]
        for row in rows
    ]
    return Radiographs(
        pictures=pictures,
        targets=np.array([[float(row[c]) for c in COLUMNS] for row in rows], np.float32),
        auxiliary=np.array(auxiliary, np.float32),
        patients=np.array([int(row["patient"]) for row in rows]),
        anteroposterior=np.array([row["view"] == "AP" for row in rows]),
    )


def to_input(picture: Image.Image) -> NDArray[np.uint8]:
    """Resize one grey picture to the network's `(224, 224)`, ignoring its aspect.

    Pillow's bilinear filter widens with the reduction, so it does not alias. A service that
    follows the manifest (`resize: stretch`) does the same.
    """
    return np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn `(..., H, W)` grey values into `(..., 3, H, W)` in [-1, 1], grey replicated."""
    scaled = (pixels.astype(np.float32) / 255.0 - 0.5) / 0.5
    return np.repeat(scaled[..., None, :, :], 3, axis=-3)


def augment(picture: Image.Image, random: Generator) -> NDArray[np.uint8]:
    """Return one random variant of a radiograph, `(224, 224)`.

    What varies is what varies between X-ray rooms and archives: the field of view, a small
    rotation, the side marker's side, the contrast curve, the resolution and JPEG loss.
    """
    width, height = picture.size
    zoom = random.uniform(0.80, 1.02)
    stretch = np.exp(random.uniform(-0.06, 0.06))
    wide, high = width * zoom * stretch, height * zoom / stretch
    centre_x = width / 2 + random.uniform(-0.06, 0.06) * width
    centre_y = height / 2 + random.uniform(-0.06, 0.06) * height
    angle = np.deg2rad(random.uniform(-8.0, 8.0))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    # Output pixel (u, v) reads the input at centre + R(angle) (u, v); the affine keeps 512 px
    # so that the antialiased resize below is the one that inference uses.
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = mirror * cos * wide / width, -sin * high / height
    d, e = mirror * sin * wide / width, cos * high / height
    c = centre_x - a * width / 2 - b * height / 2
    f = centre_y - d * width / 2 - e * height / 2
    moved = picture.transform(
        (width, height), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    )
    if random.random() < 0.3:
        moved = moved.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.6)))
    elif random.random() < 0.2:
        moved = moved.filter(ImageFilter.UnsharpMask(2.0, int(random.uniform(30, 120)), 0))
    if random.random() < 0.3:
        moved = through_jpeg(moved, int(random.uniform(40, 95)))
    return change_contrast(to_input(moved), random)


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Compress and decode a picture, keeping what JPEG does to it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return decoded.convert("L")


def change_contrast(pixels: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
    """Apply a random gamma, gain and offset, as another display window would."""
    grey = (pixels / 255.0) ** np.exp(random.uniform(-0.35, 0.35))
    grey = (grey - 0.5) * random.uniform(0.75, 1.25) + 0.5 + random.uniform(-0.1, 0.1)
    return (np.clip(grey, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
