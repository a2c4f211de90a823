"""The training patches: PatchCamelyon, 96 x 96 px at about one micrometre per pixel.

Source:
    Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018 (CC0), from
    Camelyon16 (Bejnordi et al., JAMA 2017). A patch is positive if a pixel of its middle 32 x 32
    is tumour; what surrounds them is context.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

LABELS = ("no_tumor", "tumor")
SIDE_PX = 96
#: Four pixels of a scan at 0.243 micrometres each.
MPP_UM = 0.97
#: What the network looks at; the rest is room for shifts while it trains.
CROP_PX = 80
MARGIN_PX = (SIDE_PX - CROP_PX) // 2
#: The side of a cell of the features that are compared with the teacher's.
HINT_CELL_PX = 4

#: Rounded mean and deviation of the patches' colours, 0 to 1.
MEAN = (0.70, 0.55, 0.70)
STD = (0.24, 0.28, 0.22)

#: Optical densities of red, green and blue per unit of haematoxylin, eosin and a third dye.
#: Source: Ruifrok and Johnston, 2001.
_DYES = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


@dataclass(frozen=True, slots=True)
class Patches:
    """The data set in memory.

    Attributes:
        pixels: `(N, 96, 96, 3)`, 0 to 255.
        tumor: `(N,)`, 0 or 1.
        names: `(N,)`, the files' names without ending.
    """

    pixels: NDArray[np.uint8]
    tumor: NDArray[np.int64]
    names: tuple[str, ...]


def load_patches(assets: Path) -> Patches:
    """Read `pcam/labels.csv` and the pictures it names."""
    folder = assets / "pcam"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.zeros((len(rows), SIDE_PX, SIDE_PX, 3), np.uint8)
    for place, row in enumerate(rows):
        with Image.open(folder / "patches" / row["file"]) as picture:
            pixels[place] = np.asarray(picture.convert("RGB"))
    tumor = np.array([int(row["tumor"]) for row in rows])
    return Patches(pixels, tumor, tuple(Path(row["file"]).stem for row in rows))


def normalised(pixels: Tensor) -> Tensor:
    """From `(N, H, W, 3)`, 0 to 255, to `(N, 3, H, W)` as the network reads it."""
    return ((pixels / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def middles(pixels: NDArray[np.uint8]) -> Tensor:
    """The middle 80 x 80 px, normalised."""
    inside = slice(MARGIN_PX, SIDE_PX - MARGIN_PX)
    return normalised(torch.from_numpy(pixels[:, inside, inside]).float())


def stained_anew(pixels: Tensor, random: Generator, spread: float) -> Tensor:
    """Change how much of each dye there is, and how dark the picture is, patch by patch.

    Laboratories and scanners differ in just these; poses need no change, see `group`.

    Args:
        pixels: `(N, H, W, 3)`, 0 to 255.
        random: where the changes come from.
        spread: the deviation of a dye's amount, as a share of it.

    Source:
        Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a
        reference", IEEE TMI 2018.
    """
    count = len(pixels)
    dyes = torch.tensor(_DYES)
    dyes = dyes / dyes.norm(dim=1, keepdim=True)
    amounts = torch.from_numpy(random.normal(1, spread, (count, 3, 1)).astype(np.float32))
    darker = torch.from_numpy(random.normal(0, spread / 5, (count, 1, 1, 3)).astype(np.float32))
    change = torch.linalg.inv(dyes) @ (amounts * dyes)
    density = -torch.log((pixels + 1.0) / 256.0)
    density = torch.einsum("nhwc,ncd->nhwd", density, change) + darker
    return (256.0 * torch.exp(-density) - 1.0).clamp(0.0, 255.0)


def varied(
    pixels: NDArray[np.uint8], random: Generator, *, spread: float
) -> tuple[Tensor, NDArray[np.int64]]:
    """Normalised crops of patches stained anew and shifted.

    Returns:
        The crops, `(N, 3, 80, 80)`; and how many cells of 4 px each was shifted down and right,
        `(N, 2)`, -1 to 1.
    """
    colours = stained_anew(torch.from_numpy(pixels).float(), random, spread)
    shifts = random.integers(-1, 2, (len(pixels), 2))
    starts = MARGIN_PX + HINT_CELL_PX * shifts
    crops = [
        patch[top : top + CROP_PX, left : left + CROP_PX]
        for patch, (top, left) in zip(colours, starts.tolist(), strict=True)
    ]
    return normalised(torch.stack(crops)), shifts
