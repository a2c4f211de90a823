"""A published network as teacher: what it thinks of each patch, and what it sees on the way.

The student learns from its probabilities, which say more than a label, and has to guess what its
layers answer on average, which keeps its own features from learning 4,000 patches by heart.
Nothing of the teacher is in the student.

Source:
    The teacher: a p4m DenseNet trained on PatchCamelyon by Romero et al., "Attentive Group
    Equivariant Convolutional Networks", ICML 2020 (dwromero/att_gconvs, MIT).
    Learning from probabilities: Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015; from what lies between: Romero et al., "FitNets", ICLR 2015.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.inference.conversion.p4m import convert_p4m_densenet

SHA256 = "a6d0666669b87d8a7591ad9374e105f6abe3f3eb7ed1f3ec4b014476af266ead"
_MEAN = (0.701, 0.538, 0.692)
_STD = (0.235, 0.277, 0.213)
_POSES = 8
#: An average that varies less than this says nothing.
_DEAD = 1e-3
#: How many deviations from the mean an average may lie: drawn mixtures go far.
_MOST = 6.0


#: Channels of the layer whose cells are compared one by one, each in eight poses.
LOCAL_HINTS = 36
#: Which of the teacher's dense blocks that is, and what is kept of its 20 x 20 cells of 4 px: the
#: 14 x 14 that the network's own cells cover, and one more on each side for shifts.
_LOCAL_BLOCK = 1
_LOCAL_KEPT = slice(2, 18)
_LOCAL_CELLS = 14


@dataclass(frozen=True, slots=True)
class Teaching:
    """What the teacher says of each patch.

    Attributes:
        logits: `(N,)`, of tumour against none.
        hints: `(N, H)`, what its layers answer on average and in the middle, each scaled to mean
            0 and deviation 1 over the labelled patches, and cut at 6.
        local_file: an array `(N, 36 * 8, 16, 16)`, what its third block answers cell by cell.
    """

    logits: NDArray[np.float32]
    hints: NDArray[np.float32]
    local_file: Path


@dataclass(frozen=True, slots=True)
class LocalHints:
    """The teacher's answers cell by cell, scaled to mean 0 and deviation 1 per channel."""

    cells: NDArray[np.float16]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def open(cls, file: Path) -> Self:
        """Open the file without reading it whole; the scale is that of every twentieth patch."""
        cells = np.load(file, mmap_mode="r")
        some = cells[::20].astype(np.float32).reshape(-1, LOCAL_HINTS, _POSES, *cells.shape[2:])
        mean, scale = some.mean((0, 2, 3, 4)), some.std((0, 2, 3, 4)) + 1e-3
        shape = (1, LOCAL_HINTS * _POSES, 1, 1)
        return cls(cells, *(part.repeat(_POSES).reshape(shape) for part in (mean, scale)))

    def of(self, rows: NDArray[np.intp], shifts: NDArray[np.int64]) -> Tensor:
        """The cells of shifted crops, `(N, 36 * 8, 14, 14)`."""
        windows = [
            self.cells[
                row, :, 1 + down : 1 + down + _LOCAL_CELLS, 1 + right : 1 + right + _LOCAL_CELLS
            ]
            for row, (down, right) in zip(rows.tolist(), shifts.tolist(), strict=True)
        ]
        return torch.from_numpy((np.stack(windows).astype(np.float32) - self.mean) / self.scale)


def teach(
    mirror: Path, pixels: NDArray[np.uint8], labelled: int, cache: Path, batch: int = 20
) -> Teaching:
    """Let the teacher look at every patch; about a quarter of an hour, once.

    Args:
        mirror: holds the teacher's weights.
        pixels: `(N, 96, 96, 3)`, 0 to 255.
        labelled: how many of them, from the first on, have labels.
        cache: where the answers are kept.
        batch: how many patches the teacher looks at at once.
    """
    file, local_file = cache / "teaching.npz", cache / "teaching-local.npy"
    if not file.is_file():
        session, layers = _open(mirror)
        side = _LOCAL_KEPT.stop - _LOCAL_KEPT.start
        shape = (len(pixels), LOCAL_HINTS * _POSES, side, side)
        local = np.lib.format.open_memmap(local_file, "w+", np.float16, shape)
        logits, hints = [], []
        for start in range(0, len(pixels), batch):
            some = slice(start, start + batch)
            answers = session.run(["logits", *layers], {"image": _normalised(pixels[some])})
            logits.append(answers[0][:, 1] - answers[0][:, 0])
            hints.append(np.concatenate([_summary(answer) for answer in answers[1:]], axis=1))
            local[some] = answers[1 + _LOCAL_BLOCK][:, :, _LOCAL_KEPT, _LOCAL_KEPT]
        local.flush()
        np.savez(file, logits=np.concatenate(logits), hints=np.concatenate(hints))
    with np.load(file) as stored:
        raw, logits_of_all = stored["hints"], stored["logits"].astype(np.float32)
    known = raw[:labelled]
    alive = known.std(0) > _DEAD
    scaled = (raw[:, alive] - known[:, alive].mean(0)) / known[:, alive].std(0)
    return Teaching(logits_of_all, np.clip(scaled.astype(np.float32), -_MOST, _MOST), local_file)


def _open(mirror: Path) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """The teacher, answering also what its later dense blocks end in."""
    model = onnx.load_from_string(convert_p4m_densenet(mirror / SHA256))
    layers = [node.output[0] for node in model.graph.node if node.op_type == "Concat"][1:]
    for name in layers:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options), layers


def _normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    scaled = (pixels / np.float32(255) - np.float32(_MEAN)) / np.float32(_STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def _summary(layer: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over poses and all cells, and that over the cells of the middle third."""
    count, channels, rows, _ = layer.shape
    over_poses = layer.reshape(count, channels // _POSES, _POSES, rows, rows).mean(2)
    edge = (rows - max(1, rows // 3)) // 2
    middle = over_poses[:, :, edge : rows - edge, edge : rows - edge]
    return np.concatenate([over_poses.mean((2, 3)), middle.mean((2, 3))], axis=1)
