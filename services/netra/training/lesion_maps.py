"""Runs trained lesion networks over whole photographs, as the service does."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.netra.analysis.field import Field, at_scale, find_field, levelled
from services.netra.analysis.lesions import DIAMETER_PX, LesionMaps
from services.netra.analysis.tiles import look_through
from services.netra.training.export import WINDOW_PX


def open_network(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an exported network on the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def map_lesions(
    networks: list[onnxruntime.InferenceSession], pixels: NDArray[np.uint8]
) -> LesionMaps:
    """Average the maps of several networks over one photograph.

    Args:
        networks: from `open_network`.
        pixels: `(H, W, 3)` RGB.
    """
    field = find_field(pixels) or Field(0, 0, pixels.shape[1], pixels.shape[0])
    cut = levelled(at_scale(pixels, field, DIAMETER_PX))
    tensor = np.moveaxis(cut.astype(np.float32) / 127.5 - 1.0, -1, 0)

    def look(batch: NDArray[np.float32], network: onnxruntime.InferenceSession) -> object:
        logits = network.run(["logits"], {"image": batch})[0]
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)

    maps = [
        look_through(tensor, WINDOW_PX, lambda batch, n=network: look(batch, n))
        for network in networks
    ]
    return LesionMaps(np.mean(maps, axis=0), field, (pixels.shape[0], pixels.shape[1]))


def read_masks(folder: Path, number: int, names: tuple[str, ...]) -> list[NDArray[np.bool_]]:
    """The outlines of one photograph at its own size; an absent file means no such lesion."""
    size = cv2.imread(str(folder / f"IDRiD_{number:02d}.jpg"), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    masks = []
    for name in names:
        path = folder / f"IDRiD_{number:02d}_{name}.png"
        if path.exists():
            masks.append(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0)
        else:
            masks.append(np.zeros((size.shape[0] * 8, size.shape[1] * 8), bool))
    return masks
