"""OpenVINO networks become ONNX: the same answers, and nothing unknown gets through."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.openvino import convert_head_pose, convert_openvino
from shared.inference.graph import inspect_graph
from shared.inference.runtime import CPU_PROVIDER, Session

NUMBERS = np.random.default_rng(0)
KERNEL = NUMBERS.standard_normal((2, 3, 3, 3)).astype(np.float16)
BIAS = NUMBERS.standard_normal((1, 2, 1, 1)).astype(np.float16)
# Two maps of 3 x 3 places after the pooling.
DENSE = NUMBERS.standard_normal((2, 1, 18)).astype(np.float16)
SHAPE = np.array([1, -1], np.int64)


def layer(number: int, name: str, kind: str, **attributes: str) -> str:
    data = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<layer id="{number}" name="{name}" type="{kind}"><data {data}/></layer>'


def written(folder: Path, *, pooling: str = "ceil", extra: str = "") -> tuple[Path, Path]:
    """A network of every operator that is known: picture, convolution, pooling, two answers."""
    weights, constants = b"", []
    for number, array in ((10, KERNEL), (11, BIAS), (12, SHAPE), (13, DENSE[0]), (14, DENSE[1])):
        constants.append(
            layer(
                number,
                f"constant{number}",
                "Const",
                element_type={"float16": "f16", "int64": "i64"}[str(array.dtype)],
                shape=", ".join(str(side) for side in array.shape),
                offset=str(len(weights)),
                size=str(array.nbytes),
            )
        )
        weights += array.tobytes()
    halves = [layer(20 + place, f"half{place}", "Convert") for place in range(4)]
    layers = [
        layer(0, "data", "Parameter", shape="1,3,5,5", element_type="f32"),
        *constants,
        *halves,
        layer(
            30,
            "convolution",
            "Convolution",
            strides="1, 1",
            dilations="1, 1",
            pads_begin="1, 1",
            pads_end="1, 1",
        ),
        layer(31, "biased", "Add"),
        layer(32, "twice", "Multiply"),
        layer(33, "rectified", "ReLU"),
        layer(
            34,
            "pooled",
            "MaxPool",
            strides="2, 2",
            kernel="2, 2",
            pads_begin="0, 0",
            pads_end="0, 0",
            rounding_type=pooling,
        ),
        layer(35, "flat", "Reshape", special_zero="true"),
        layer(36, "first", "MatMul", transpose_a="false", transpose_b="true"),
        layer(37, "second", "MatMul", transpose_a="false", transpose_b="true"),
        layer(38, "difference", "Subtract"),
        layer(39, "end", "Result"),
        extra,
    ]
    edges = [
        (10, 20, 0), (11, 21, 0), (13, 22, 0), (14, 23, 0),
        (0, 30, 0), (20, 30, 1), (30, 31, 0), (21, 31, 1), (31, 32, 0), (21, 32, 1),
        (32, 33, 0), (33, 34, 0), (34, 35, 0), (12, 35, 1),
        (35, 36, 0), (22, 36, 1), (35, 37, 0), (23, 37, 1), (37, 38, 0), (36, 38, 1), (38, 39, 0),
    ]  # fmt: skip
    lines = "".join(
        f'<edge from-layer="{start}" from-port="9" to-layer="{end}" to-port="{port}"/>'
        for start, end, port in edges
    )
    xml, binary = folder / "net.xml", folder / "net.bin"
    xml.write_text(f"<net><layers>{''.join(layers)}</layers><edges>{lines}</edges></net>")
    binary.write_bytes(weights)
    return xml, binary


def expected(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """The two answers, worked out with loops."""
    padded = np.pad(image[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    kernel, bias = KERNEL.astype(np.float64), BIAS.astype(np.float64).reshape(2)
    maps = np.zeros((2, 6, 6))
    maps[:] = -np.inf
    for channel in range(2):
        for row in range(5):
            for column in range(5):
                window = padded[:, row : row + 3, column : column + 3]
                value = ((window * kernel[channel]).sum() + bias[channel]) * bias[channel]
                maps[channel, row, column] = max(0.0, value)
    pooled = maps.reshape(2, 3, 2, 3, 2).max(axis=(2, 4)).reshape(-1)
    first, second = (dense.astype(np.float64)[0] @ pooled for dense in DENSE)
    return np.array([first, second - first])


def test_every_known_operator_answers_as_its_definition(tmp_path: Path) -> None:
    network = convert_openvino(*written(tmp_path), ("first", "difference"), "both")
    image = NUMBERS.standard_normal((1, 3, 5, 5)).astype(np.float32)

    inspect_graph(network)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)

    np.testing.assert_allclose(
        session.run({"data": image})["both"][0], expected(image), rtol=1e-4, atol=1e-4
    )


def test_an_unknown_operator_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, extra=layer(50, "odd", "Custom"))

    with pytest.raises(CheckpointRefused, match="Custom is not known"):
        convert_openvino(*files, ("first",), "answer")


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused, match="another network"):
        convert_head_pose(*written(tmp_path))


def test_constants_outside_their_file_are_refused(tmp_path: Path) -> None:
    xml, weights = written(tmp_path)
    weights.write_bytes(weights.read_bytes()[:-2])

    with pytest.raises(CheckpointRefused, match="outside"):
        convert_openvino(xml, weights, ("first",), "answer")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<net/>",
        "<net><layers/><edges/></net>",
        "<net><layers><layer/></layers><edges/></net>",
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">'
        '<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">'
        "]><net>&e;</net>",
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, text: str) -> None:
    xml, weights = written(tmp_path)
    xml.write_text(text)

    with pytest.raises(CheckpointRefused):
        convert_openvino(xml, weights, ("first",), "answer")
