"""Writes the lesion network as an ONNX graph."""

import io

import onnx
import torch

from services.netra.training.segmenter import LESIONS, LesionNetwork

#: Height and width of the window through which the network looks at a field of view.
WINDOW_PX = (576, 672)
OPSET = 17


def to_onnx(network: LesionNetwork) -> bytes:
    """Write the graph: `image` `(N, 3, 576, 672)` in [-1, 1], `logits` `(N, 4, 576, 672)`."""
    written = io.BytesIO()
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, *WINDOW_PX),),
        written,
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )
    model = onnx.load_from_string(written.getvalue())
    model.producer_name, model.producer_version, model.doc_string = "vedette", "", ""
    model.graph.name = "netra-lesions"
    for node in model.graph.node:
        # The exporter notes files and lines of the machine it ran on.
        node.doc_string = ""
    # The exporter gives the answer's sides other names than the picture's.
    answer = model.graph.output[0].type.tensor_type.shape.dim
    for dim, side in zip(answer[1:], (len(LESIONS), *WINDOW_PX), strict=True):
        dim.ClearField("dim_param")
        dim.dim_value = side
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
