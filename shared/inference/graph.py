"""What an ONNX file may contain, checked on its parsed form before any runtime sees it.

A network comes from elsewhere: it may point at files outside its folder, name operators that
only a loaded library has, or declare tensors that no machine can hold. Only self-contained
graphs of standard operators pass.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from shared.inference.refusal import PackageRefused, Reason

OLDEST_OPSET = 9
NEWEST_OPSET = 25
_NEWEST_IR = 13
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_MAX_SUBGRAPH_DEPTH = 4
_MAX_NODES = 50_000
_MAX_ELEMENTS = 1 << 28
_MAX_RANK = 8
_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16, TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16,
    TensorProto.UINT16: 16, TensorProto.INT32: 32, TensorProto.UINT32: 32, TensorProto.INT64: 64,
    TensorProto.UINT64: 64, TensorProto.BOOL: 8, TensorProto.INT4: 4, TensorProto.UINT4: 4,
}  # fmt: skip
# Operators whose result is as large as a constant says, and which of their inputs says it.
_SIZE_INPUTS = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "OneHot": 1}


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The inputs and outputs of a network: name → shape, None for an axis that may vary."""

    opset: int
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]


def inspect_graph(network: bytes) -> GraphFacts:
    """Check the bytes of an ONNX file; the caller has bounded their number.

    Raises:
        PackageRefused: the bytes are not ONNX or hold something that is not allowed.
    """
    model = ModelProto()
    try:
        model.ParseFromString(network)
    except DecodeError as error:
        raise PackageRefused(Reason.BAD_GRAPH, "the file is not an ONNX network") from error
    try:
        return _inspect(model)
    except (TypeError, ValueError) as error:
        # Protobuf hands text that is not UTF-8 over as bytes, wherever text may stand.
        raise PackageRefused(Reason.BAD_GRAPH, "the network holds damaged text") from error


def _inspect(model: ModelProto) -> GraphFacts:
    if not model.graph.node or not 3 <= model.ir_version <= _NEWEST_IR:
        raise PackageRefused(Reason.BAD_GRAPH, "the file is not an ONNX network this version reads")
    opset = _opset(model)
    if model.functions:
        raise PackageRefused(Reason.CUSTOM_OPERATOR, "the network brings functions of its own")
    if model.training_info:
        raise PackageRefused(Reason.BAD_GRAPH, "the network carries training steps")
    _Walk().visit(model.graph)
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise PackageRefused(Reason.BAD_GRAPH, f"the ONNX checker refuses it: {error}") from error
    return GraphFacts(
        opset=opset,
        inputs=_shapes(value for value in model.graph.input if value.name not in constants),
        outputs=_shapes(model.graph.output),
    )


def _opset(model: ModelProto) -> int:
    version = 0
    for imported in model.opset_import:
        if imported.domain not in _STANDARD_DOMAINS:
            raise PackageRefused(
                Reason.CUSTOM_OPERATOR,
                f"the network needs operators of {imported.domain!r}, only standard ONNX is run",
            )
        version = int(imported.version)
    if not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise PackageRefused(
            Reason.OPSET, f"opset {version} is not one of {OLDEST_OPSET} to {NEWEST_OPSET}"
        )
    return version


class _Walk:
    """Visits a graph and its subgraphs once, in order."""

    def __init__(self) -> None:
        self._nodes = 0
        self._elements = 0
        # The names that are computed so far: a subgraph sees those of the graphs around it.
        self._scopes: list[set[str]] = []

    def visit(self, graph: GraphProto) -> None:
        if len(self._scopes) > _MAX_SUBGRAPH_DEPTH:
            raise PackageRefused(Reason.BAD_GRAPH, "subgraphs are nested too deeply")
        known: set[str] = set()
        self._scopes.append(known)
        sizes: dict[str, TensorProto] = {}
        for tensor in _stored(graph):
            self._check_tensor(tensor)
            known.add(tensor.name)
            sizes[tensor.name] = tensor
        for value in (*graph.input, *graph.output, *graph.value_info):
            _check_declared(value)
        known |= {value.name for value in graph.input}
        for node in graph.node:
            self._nodes += 1
            if self._nodes > _MAX_NODES:
                raise PackageRefused(Reason.TOO_LARGE, f"more than {_MAX_NODES} nodes")
            self._visit_node(node, known, sizes)
        for value in graph.output:
            if not self._is_known(value.name):
                raise PackageRefused(
                    Reason.BAD_GRAPH, f"output {value.name!r} is computed by nothing"
                )
        self._scopes.pop()

    def _is_known(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _visit_node(self, node: NodeProto, known: set[str], sizes: dict[str, TensorProto]) -> None:
        if node.domain not in _STANDARD_DOMAINS or not onnx.defs.has(node.op_type):
            raise PackageRefused(
                Reason.CUSTOM_OPERATOR,
                f"operator {node.domain or 'ai.onnx'}.{node.op_type} is not standard ONNX",
            )
        for name in node.input:
            if name and not self._is_known(name):
                # Nodes stand in the order of computation, so a cycle shows here as well.
                raise PackageRefused(
                    Reason.BAD_GRAPH, f"{node.op_type} reads {name!r} before it is computed"
                )
        for attribute in node.attribute:
            self._visit_attribute(attribute)
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR and node.output:
                    sizes[node.output[0]] = attribute.t
        self._check_result_size(node, sizes)
        for name in node.output:
            if name and self._is_known(name):
                raise PackageRefused(Reason.BAD_GRAPH, f"{name!r} is computed twice")
            known.add(name)

    def _visit_attribute(self, attribute: AttributeProto) -> None:
        if attribute.ref_attr_name:
            raise PackageRefused(Reason.BAD_GRAPH, "an attribute refers to a function's")
        if attribute.HasField("t"):
            self._check_tensor(attribute.t)
        for tensor in attribute.tensors:
            self._check_tensor(tensor)
        sparse = [*attribute.sparse_tensors]
        if attribute.HasField("sparse_tensor"):
            sparse.append(attribute.sparse_tensor)
        for pair in sparse:
            _check_dims(pair.dims, "a sparse tensor")
            self._check_tensor(pair.values)
            self._check_tensor(pair.indices)
        if attribute.HasField("g"):
            self.visit(attribute.g)
        for graph in attribute.graphs:
            self.visit(graph)

    def _check_tensor(self, tensor: TensorProto) -> None:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise PackageRefused(
                Reason.EXTERNAL_DATA, f"tensor {tensor.name!r} lies in another file"
            )
        elements = _check_dims(tensor.dims, f"tensor {tensor.name!r}")
        self._elements += elements
        if self._elements > _MAX_ELEMENTS:
            raise PackageRefused(Reason.TOO_LARGE, "the tensors hold too many numbers")
        bits = _BITS.get(tensor.data_type)
        if bits is None:
            if tensor.data_type == TensorProto.STRING:
                return
            raise PackageRefused(
                Reason.BAD_GRAPH, f"tensor {tensor.name!r} has an unknown element type"
            )
        if tensor.HasField("raw_data") and len(tensor.raw_data) != (elements * bits + 7) // 8:
            raise PackageRefused(
                Reason.BAD_GRAPH,
                f"tensor {tensor.name!r} declares {elements} numbers and holds others",
            )

    def _check_result_size(self, node: NodeProto, sizes: Mapping[str, TensorProto]) -> None:
        """Refuse what a few bytes would blow up to more memory than there is."""
        place = _SIZE_INPUTS.get(node.op_type)
        if place is None or place >= len(node.input):
            return
        tensor = sizes.get(node.input[place])
        if tensor is None or tensor.data_type != TensorProto.INT64:
            return
        _check_dims(onnx.numpy_helper.to_array(tensor).ravel().tolist(), node.op_type)


def _stored(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for pair in graph.sparse_initializer:
        _check_dims(pair.dims, f"tensor {pair.values.name!r}")
        yield pair.values
        if pair.HasField("indices"):
            yield pair.indices


def _check_dims(dims: Iterable[int], what: str) -> int:
    sides = list(dims)
    elements = math.prod(abs(side) for side in sides)
    if len(sides) > _MAX_RANK or any(abs(side) > _MAX_ELEMENTS for side in sides):
        raise PackageRefused(Reason.TOO_LARGE, f"{what} has the shape {sides[:_MAX_RANK]}")
    if elements > _MAX_ELEMENTS:
        raise PackageRefused(Reason.TOO_LARGE, f"{what} has the shape {sides}")
    return elements


def _check_declared(value: ValueInfoProto) -> None:
    sides = [
        axis.dim_value for axis in value.type.tensor_type.shape.dim if axis.HasField("dim_value")
    ]
    if any(side < 0 for side in sides):
        raise PackageRefused(Reason.BAD_GRAPH, f"{value.name!r} has a negative side")
    _check_dims(sides, repr(value.name))


def _shapes(values: Iterable[ValueInfoProto]) -> dict[str, tuple[int | None, ...]]:
    return {
        value.name: tuple(
            axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
            for axis in value.type.tensor_type.shape.dim
        )
        for value in values
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
