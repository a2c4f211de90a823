"""64: a network reads no other file, brings no operators, and fits into memory."""

import contextlib
import ctypes.util
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper

from shared.inference import PackageRefused, load_package
from shared.inference.apart import verify_apart
from shared.inference.graph import inspect_graph
from shared.inference.refusal import Reason
from tests.shared.inference.packages import PackageBuilder, mean_network


@pytest.fixture
def package(tmp_path: Path) -> PackageBuilder:
    """A package that loads unless the test changes it."""
    return PackageBuilder(tmp_path / "package")


def refused(folder: Path) -> PackageRefused:
    """How the package is refused."""
    with pytest.raises(PackageRefused) as found:
        load_package(folder)
    return found.value


def external(location: str, **more: str) -> TensorProto:
    """A tensor that says its figures lie in another file."""
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1, 2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


LOCATIONS = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "weights.bin",
    "a/../../x",
    "file:///etc/passwd",
    "https://example.org/w",
]


@pytest.mark.parametrize("location", LOCATIONS)
def test_s64_external_data_is_refused(package: PackageBuilder, location: str) -> None:
    package.network.graph.initializer[0].CopyFrom(external(location))

    assert refused(package.write()).reason is Reason.EXTERNAL_DATA


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_s64_external_data_behind_a_link_is_refused(package: PackageBuilder, link: str) -> None:
    package.network.graph.initializer[0].CopyFrom(external("weights.bin"))
    folder = package.write()
    secret = folder.parent / "secret"
    secret.write_bytes(b"\0" * 8)
    if link == "symbolic":
        (folder / "weights.bin").symlink_to(secret)
    else:
        os.link(secret, folder / "weights.bin")

    assert refused(folder).reason is Reason.EXTERNAL_DATA


def test_s64_external_entries_without_the_flag_are_refused(package: PackageBuilder) -> None:
    """Some readers look at the entries and not at the flag."""
    tensor = external("../../etc/passwd")
    tensor.data_location = TensorProto.DEFAULT
    package.network.graph.initializer[0].CopyFrom(tensor)

    assert refused(package.write()).reason is Reason.EXTERNAL_DATA


def test_s64_attribute_injection_sets_nothing(package: PackageBuilder) -> None:
    """CVE-2026-34445: the keys of external data became attributes of a Python object."""
    package.network.graph.initializer[0].CopyFrom(external("w", __class__="x", basepath="/"))

    assert refused(package.write()).reason is Reason.EXTERNAL_DATA


def test_s64_external_data_inside_a_subgraph_is_refused(package: PackageBuilder) -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=external("/etc/passwd"))],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 2])],
    )
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    package.network = mean_network(
        [helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch)],
        [condition],
    )

    assert refused(package.write()).reason is Reason.EXTERNAL_DATA


def test_s64_external_data_in_an_attribute_list_is_refused(package: PackageBuilder) -> None:
    node = helper.make_node("Relu", ["image"], ["z"])
    attribute = AttributeProto(name="extra", type=AttributeProto.TENSORS)
    attribute.tensors.append(external("/etc/passwd"))
    node.attribute.append(attribute)
    package.network = mean_network([node])

    assert refused(package.write()).reason is Reason.EXTERNAL_DATA


@pytest.mark.parametrize("name", ["model.onnx", "vectors/0.png", "model.yaml"])
def test_s64_a_member_that_is_a_link_is_refused(package: PackageBuilder, name: str) -> None:
    folder = package.write()
    elsewhere = folder.parent / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)

    assert refused(folder).reason is Reason.UNSAFE_PATH


def test_s64_a_folder_that_is_a_link_is_refused(package: PackageBuilder) -> None:
    folder = package.write()
    (folder / "vectors").rename(folder.parent / "elsewhere")
    (folder / "vectors").symlink_to(folder.parent / "elsewhere")

    assert refused(folder).reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../../model.onnx"])
def test_s64_a_path_out_of_the_package_is_refused(package: PackageBuilder, name: str) -> None:
    package.changes = {"file": name}

    assert refused(package.write()).reason is Reason.BAD_MANIFEST


@pytest.mark.parametrize(
    ("domain", "operator"),
    [("evil.ops", "Run"), ("com.microsoft", "Gelu"), ("", "PythonOp"), ("ai.onnx.ml", "Scaler")],
)
def test_s64_an_operator_that_is_not_standard_is_refused(
    package: PackageBuilder, domain: str, operator: str
) -> None:
    node = helper.make_node(operator, ["image"], ["z"], domain=domain)
    package.network = mean_network([node])

    assert refused(package.write()).reason is Reason.CUSTOM_OPERATOR


def test_s64_a_library_named_by_the_network_is_never_loaded(package: PackageBuilder) -> None:
    """There is no member of the manifest that names one, and none of the network is read."""
    package.changes = {"custom_ops": ctypes.util.find_library("m") or "libm.so.6"}

    assert refused(package.write()).reason is Reason.BAD_MANIFEST


def test_s64_a_function_of_the_network_is_refused(package: PackageBuilder) -> None:
    function = helper.make_function(
        "evil.ops",
        "Twice",
        ["x"],
        ["y"],
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    package.network.functions.append(function)

    assert refused(package.write()).reason is Reason.CUSTOM_OPERATOR


@pytest.mark.parametrize(
    "dims", [[1 << 40], [1 << 20, 1 << 20], [65536] * 4, [1] * 20, [(1 << 62), 4]]
)
def test_s64_absurd_dimensions_are_refused(package: PackageBuilder, dims: Sequence[int]) -> None:
    """Before anything of that size is allocated."""
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=dims)
    package.network.graph.initializer[0].CopyFrom(weight)

    assert refused(package.write()).reason is Reason.TOO_LARGE


def test_s64_negative_dimensions_are_refused(package: PackageBuilder) -> None:
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[-1, 2])
    weight.raw_data = b"\0" * 8
    package.network.graph.initializer[0].CopyFrom(weight)

    assert refused(package.write()).reason is Reason.BAD_GRAPH


@pytest.mark.parametrize("length", [0, 4, 9, 4096])
def test_s64_a_tensor_with_other_bytes_than_declared_is_refused(
    package: PackageBuilder, length: int
) -> None:
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1, 2])
    weight.raw_data = b"\0" * length
    package.network.graph.initializer[0].CopyFrom(weight)

    assert refused(package.write()).reason is Reason.BAD_GRAPH


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile"])
def test_s64_a_few_bytes_that_grow_to_gigabytes_are_refused(
    package: PackageBuilder, operator: str
) -> None:
    """The optimiser would compute the constant while it loads the network."""
    size = helper.make_tensor("size", TensorProto.INT64, [4], [1 << 12] * 4)
    inputs = ["size"] if operator == "ConstantOfShape" else ["image", "size"]
    package.network = mean_network([helper.make_node(operator, inputs, ["z"])], [size])

    assert refused(package.write()).reason is Reason.TOO_LARGE


def test_s64_a_cycle_is_refused(package: PackageBuilder) -> None:
    package.network = mean_network(
        [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    )

    assert refused(package.write()).reason is Reason.BAD_GRAPH


def test_s64_a_name_computed_twice_is_refused(package: PackageBuilder) -> None:
    package.network = mean_network([helper.make_node("Relu", ["image"], ["z"])] * 2)

    assert refused(package.write()).reason is Reason.BAD_GRAPH


def test_s64_deep_subgraphs_are_refused(package: PackageBuilder) -> None:
    """Readers that recurse would run out of stack."""
    truth = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["z"])], "g", [], [output])
    for _ in range(8):
        node = helper.make_node("If", ["condition"], ["z"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [output])
    package.network = mean_network([graph.node[0]], [truth])

    assert refused(package.write()).reason is Reason.BAD_GRAPH


def test_s64_a_network_of_many_nodes_is_checked_in_linear_time(package: PackageBuilder) -> None:
    """A check that costs the square of the nodes would be an attack of its own."""
    names = ["image", *(f"n{number}" for number in range(20_000))]
    chain = [
        helper.make_node("LeakyRelu", [before], [after], alpha=0.1)
        for before, after in itertools.pairwise(names)
    ]
    contents = mean_network(chain).SerializeToString()
    started_at = time.monotonic()

    inspect_graph(contents)

    assert time.monotonic() - started_at < 10


def test_s64_a_message_nested_beyond_protobufs_limit_is_refused(package: PackageBuilder) -> None:
    """Ten thousand levels in a few kilobytes: the parser must refuse, not recurse."""
    nested = b""
    for _ in range(10_000):
        length = len(nested)
        size = bytearray()
        while True:
            size.append(length & 0x7F | (0x80 if length > 0x7F else 0))
            length >>= 7
            if not length:
                break
        nested = b"\x32" + bytes(size) + nested
    folder = package.write()
    (folder / "model.onnx").write_bytes(nested)
    package.changes = {"sha256": package.manifest(nested)["sha256"]}
    package.write()
    (folder / "model.onnx").write_bytes(nested)

    assert refused(folder).reason is Reason.BAD_GRAPH


def test_s64_a_two_gigabyte_file_is_refused_unread(package: PackageBuilder) -> None:
    """A sparse file costs no disk; reading it would cost memory."""
    folder = package.write()
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(2 << 30)
    started_at = time.monotonic()

    assert refused(folder).reason is Reason.TOO_LARGE
    assert time.monotonic() - started_at < 1


def test_s64_what_breaks_the_runtime_breaks_another_process(package: PackageBuilder) -> None:
    """Memory that only shows when the network runs is bounded in a process of its own."""
    size = helper.make_tensor("rows", TensorProto.INT64, [1], [60_000])
    package.network = mean_network(
        [
            helper.make_node("ConstantOfShape", ["rows"], ["column"]),
            helper.make_node("Unsqueeze", ["column", "one"], ["tall"]),
            helper.make_node("Unsqueeze", ["column", "zero"], ["wide"]),
            helper.make_node("MatMul", ["tall", "wide"], ["square"]),
            helper.make_node("ReduceSum", ["square"], ["sum"], keepdims=0),
            helper.make_node("Add", ["image", "sum"], ["z"]),
        ],
        [
            size,
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        ],
    )
    package.network.graph.output.append(
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1, 8, 8])
    )
    folder = package.write()

    with pytest.raises(PackageRefused) as found:
        verify_apart(folder, timeout_s=60, max_memory_gb=6)

    assert found.value.reason in (Reason.BAD_GRAPH, Reason.TEST_VECTOR_FAILED)


def test_s64_a_network_that_never_ends_is_stopped(package: PackageBuilder) -> None:
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Cos", ["v"], ["w"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value,
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    package.network = mean_network(
        [helper.make_node("Loop", ["rounds", "truth", "image"], ["z"], body=body)],
        [
            helper.make_tensor("rounds", TensorProto.INT64, [], [1 << 60]),
            helper.make_tensor("truth", TensorProto.BOOL, [], [True]),
        ],
    )
    package.network.graph.output.append(
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1, 8, 8])
    )

    with pytest.raises(PackageRefused) as found:
        verify_apart(package.write(), timeout_s=5)

    assert found.value.reason is Reason.TIMED_OUT


SMALL_NETWORK = mean_network().SerializeToString()


@settings(max_examples=1500, deadline=None)
@given(
    place=st.integers(0, len(SMALL_NETWORK) - 1),
    replacement=st.binary(max_size=6),
    dropped=st.integers(0, 6),
)
def test_s64_any_damage_is_a_refusal_or_harmless(
    place: int, replacement: bytes, dropped: int
) -> None:
    """No bytes lead the checks to an error that nobody expects."""
    damaged = SMALL_NETWORK[:place] + replacement + SMALL_NETWORK[place + dropped :]

    with contextlib.suppress(PackageRefused):
        inspect_graph(damaged)


def test_s64_the_library_is_recent_enough() -> None:
    """Version 1.21 of onnx closed the path faults of its own loader."""
    assert tuple(int(part) for part in onnx.__version__.split(".")[:2]) >= (1, 21)
