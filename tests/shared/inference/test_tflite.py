"""TensorFlow Lite networks as ONNX: the same figures, channel first, or a refusal."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.tflite import convert_tflite
from shared.inference.graph import inspect_graph
from shared.inference.runtime import CPU_PROVIDER, Session
from tests.shared.inference.lite_files import LiteFile, LiteStep

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((1, 6, 5, 2)).astype(np.float32)
ADD, CONCATENATE, CONVOLVE, DEPTHWISE, DEQUANTISE, MAX_POOL = 0, 2, 3, 4, 6, 17
RELU, RESHAPE, PAD, MEAN, PRELU, CUSTOM = 19, 22, 34, 40, 54, 32


def figures(*shape: int) -> NDArray[np.float32]:
    """Weights of this shape."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def run(tmp_path: Path, file: LiteFile) -> NDArray[np.float32]:
    """What the converted network answers to IMAGE; of pictures, channel last again."""
    (tmp_path / "net.tflite").write_bytes(file.write())
    network = convert_tflite(tmp_path / "net.tflite")
    inspect_graph(network)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    (output,) = session.run({"image": IMAGE.transpose(0, 3, 1, 2)}).values()
    return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output


def convolved(
    picture: NDArray[np.float32], weight: NDArray[np.float32], stride: int
) -> NDArray[np.float32]:
    """The definition: `(1, H, W, I)` by `(O, h, w, I)`, padded so that the sides stay "same"."""
    length = weight.shape[1]
    sides = [-(-side // stride) for side in picture.shape[1:3]]
    totals = [
        max((new - 1) * stride + length - old, 0)
        for new, old in zip(sides, picture.shape[1:3], strict=True)
    ]
    padded = np.pad(picture[0], [*((t // 2, t - t // 2) for t in totals), (0, 0)])
    answer = np.zeros((1, *sides, len(weight)), np.float32)
    for row in range(sides[0]):
        for column in range(sides[1]):
            seen = padded[row * stride :, column * stride :][:length, :length]
            answer[0, row, column] = np.einsum("hwi,ohwi->o", seen, weight)
    return answer


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_pads_as_its_framework_does(tmp_path: Path, stride: int) -> None:
    """With stride 2 the odd pixel is below and to the right, unlike in PyTorch."""
    weight, bias = figures(3, 3, 3, 2), figures(3)
    expected = np.maximum(convolved(IMAGE, weight, stride) + bias, 0)
    step = LiteStep(
        CONVOLVE, [0, 1, 2], 3, {0: ("b", 0), 1: ("i", stride), 2: ("i", stride), 3: ("b", 1)}
    )
    file = LiteFile([IMAGE.shape, weight, bias, expected.shape], [step], [0], [3])

    np.testing.assert_allclose(run(tmp_path, file), expected, rtol=1e-5, atol=1e-5)


def test_a_depthwise_convolution_keeps_its_channels_apart(tmp_path: Path) -> None:
    weight = figures(1, 3, 3, 2)
    apart = [convolved(IMAGE[..., c : c + 1], weight[..., c : c + 1], 1) for c in range(2)]
    expected = np.clip(np.concatenate(apart, axis=3), 0, 6)
    options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 4: ("b", 3)}
    file = LiteFile(
        [IMAGE.shape, weight, figures(2) * 0, expected.shape],
        [LiteStep(DEPTHWISE, [0, 1, 2], 3, options)],
        [0],
        [3],
    )

    np.testing.assert_allclose(run(tmp_path, file), expected, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_writes_each_pixel_as_a_square(tmp_path: Path) -> None:
    weight, bias = figures(3, 2, 2, 2), figures(3)
    blocks = np.einsum("nhwi,oyxi->nhywxo", IMAGE, weight).reshape(1, 12, 10, 3)
    step = LiteStep(
        CUSTOM, [0, 1, 2], 3, custom="Convolution2DTransposeBias",
        custom_options=struct.pack("<3i", 1, 2, 2),
    )  # fmt: skip
    file = LiteFile([IMAGE.shape, weight, bias, blocks.shape], [step], [0], [3])

    np.testing.assert_allclose(run(tmp_path, file), blocks + bias, rtol=1e-5, atol=1e-5)


SLOPE = figures(1, 1, 2)
PADDING = np.array([[0, 0], [1, 0], [0, 2], [0, 1]], np.int32)
POOL = {0: ("b", 1), 1: ("i", 2), 2: ("i", 2), 3: ("i", 2), 4: ("i", 2)}
CASES: dict[str, tuple[LiteStep, list[NDArray[Any]], NDArray[np.float32]]] = {
    "relu": (LiteStep(RELU, [0], 1), [], np.maximum(IMAGE, 0)),
    "prelu": (
        LiteStep(PRELU, [0, 2], 1),
        [SLOPE],
        np.where(IMAGE > 0, IMAGE, IMAGE * SLOPE).astype(np.float32),
    ),
    "reshape": (LiteStep(RESHAPE, [0], 1), [], IMAGE.reshape(1, 15, 4)),
    "pad": (LiteStep(PAD, [0, 2], 1), [PADDING], np.pad(IMAGE, PADDING)),
    "add": (LiteStep(ADD, [0, 2], 1), [figures(2)], IMAGE + figures(2)),
    "concatenate": (
        LiteStep(CONCATENATE, [0, 0], 1, {0: ("i", 3)}),
        [],
        np.concatenate([IMAGE, IMAGE], axis=3),
    ),
    "mean": (
        LiteStep(MEAN, [0, 2], 1),
        [np.array([1, 2], np.int32)],
        IMAGE.mean(axis=(1, 2)),
    ),
    "max-pool": (
        LiteStep(MAX_POOL, [0], 1, POOL),
        [],
        IMAGE[:, :, :4].reshape(1, 3, 2, 2, 2, 2).max(axis=(2, 4)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_means_the_same_channel_first(tmp_path: Path, name: str) -> None:
    step, constants, expected = CASES[name]
    file = LiteFile([IMAGE.shape, expected.shape, *constants], [step], [0], [1])

    np.testing.assert_allclose(run(tmp_path, file), expected, rtol=1e-5, atol=1e-6)


def test_weights_of_sixteen_bits_are_read(tmp_path: Path) -> None:
    weight = figures(3, 1, 1, 2).astype(np.float16)
    steps = [
        LiteStep(DEQUANTISE, [1], 3),
        LiteStep(CONVOLVE, [0, 3, 2], 4, {0: ("b", 1), 1: ("i", 1), 2: ("i", 1)}),
    ]
    expected = convolved(IMAGE, weight.astype(np.float32), 1)
    zeros = figures(3) * 0
    tensors: list[tuple[int, ...] | NDArray[Any]] = [IMAGE.shape, weight, zeros, (3, 1, 1, 2)]
    tensors.append(expected.shape)

    np.testing.assert_allclose(
        run(tmp_path, LiteFile(tensors, steps, [0], [4])), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "step",
    [
        LiteStep(25, [0], 1),
        LiteStep(CUSTOM, [0], 1, custom="Anything"),
        LiteStep(CONCATENATE, [0, 0], 1, {0: ("i", 3), 1: ("b", 2)}),
        LiteStep(PAD, [0, 0], 1),
    ],
    ids=["unknown", "custom", "activation", "computed-weights"],
)
def test_what_has_no_meaning_here_is_refused(tmp_path: Path, step: LiteStep) -> None:
    file = LiteFile([IMAGE.shape, IMAGE.shape], [step], [0], [1])
    (tmp_path / "net.tflite").write_bytes(file.write())

    with pytest.raises(CheckpointRefused):
        convert_tflite(tmp_path / "net.tflite")


WHOLE = LiteFile(
    [IMAGE.shape, figures(3, 3, 3, 2), figures(3), (1, 6, 5, 3)],
    [LiteStep(CONVOLVE, [0, 1, 2], 3, {0: ("b", 0), 1: ("i", 1), 2: ("i", 1)})],
    [0],
    [3],
).write()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_read(
    tmp_path: Path, place: int, byte: int, cut: bool
) -> None:
    """No offset of a file leads anywhere but to a refusal."""
    damaged = WHOLE[:place] if cut else WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    (tmp_path / "net.tflite").write_bytes(damaged)
    try:
        convert_tflite(tmp_path / "net.tflite")
    except CheckpointRefused:
        return
