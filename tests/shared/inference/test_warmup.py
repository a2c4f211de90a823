"""A network is given batches only after it has shown that it can take them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shared.inference import Engine, ModelPackage, load_package
from shared.inference.runtime import CPU_PROVIDER, NetworkFailed, Session
from shared.inference.warmup import GPU_CAPACITY, plan_batches
from tests.shared.inference.packages import PackageBuilder, mean_network
from tests.shared.inference.sessions import picture


def packaged(folder: Path, network: onnx.ModelProto, **changes: Any) -> ModelPackage:
    """A verified package of `network`."""
    return load_package(PackageBuilder(folder / "package", network, changes).write())


def opened(package: ModelPackage) -> Session:
    """Its session on the processor."""
    return Session(package.read_network(), [(CPU_PROVIDER, {})], threads_per_run=1)


def fixed_network() -> onnx.ModelProto:
    """A network that reads exactly one picture."""
    network = mean_network()
    for value in (*network.graph.input, *network.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        axis.ClearField("dim_param")
        axis.dim_value = 1
    return network


def sociable_network() -> onnx.ModelProto:
    """Shifts each picture by how far it is from the mean of all that are in its batch."""
    network = mean_network(
        [
            helper.make_node("ReduceMean", ["image"], ["others"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["image", "others"], ["difference"]),
            helper.make_node("Add", ["image", "difference"], ["shifted"]),
        ]
    )
    mean = next(node for node in network.graph.node if node.output[0] == "mean")
    mean.input[0] = "shifted"
    return network


class Slow:
    """A session whose runs claim a device that cannot hold more than some pictures."""

    def __init__(self, session: Session, most: int) -> None:
        self._session = session
        self._most = most

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Compute all outputs of a batch that fits."""
        if len(feeds["image"]) > self._most:
            raise NetworkFailed("out of memory")
        return self._session.run(feeds)


def test_a_network_that_costs_nothing_is_given_batches(tmp_path: Path) -> None:
    """A run of some microseconds is all overhead, which a batch shares."""
    package = packaged(tmp_path, mean_network())

    assert plan_batches(package, opened(package)).capacity > 1


def test_a_graph_of_one_picture_runs_alone(tmp_path: Path) -> None:
    package = packaged(tmp_path, fixed_network())

    assert plan_batches(package, opened(package), on_gpu=True).capacity == 1


async def test_a_graph_of_one_picture_answers_many(tmp_path: Path) -> None:
    """What the graph cannot do at once is done one by one, and nobody needs to know."""
    package = packaged(tmp_path, fixed_network())
    with Engine("cpu", threads=2) as engine:
        outputs = await engine.load(package).run(
            np.concatenate([picture(value) for value in (0.25, 0.5, 0.75)])
        )

    np.testing.assert_allclose(outputs["logits"][:, 0], [0.25, 0.5, 0.75], atol=1e-6)


def test_a_network_whose_answers_depend_on_neighbours_runs_alone(tmp_path: Path) -> None:
    """Nobody's finding may change with who else is being examined."""
    package = packaged(tmp_path, sociable_network())

    assert plan_batches(package, opened(package), on_gpu=True).capacity == 1


def test_the_manifest_bounds_the_batch(tmp_path: Path) -> None:
    package = packaged(tmp_path, mean_network(), batch={"max": 6})

    assert plan_batches(package, opened(package), on_gpu=True).capacity == 6


def test_a_gpu_gets_large_batches_unless_told_otherwise(tmp_path: Path) -> None:
    package = packaged(tmp_path, mean_network())
    plan = plan_batches(package, opened(package), on_gpu=True)

    assert (plan.capacity, plan.in_buckets) == (GPU_CAPACITY, True)


def test_a_device_without_memory_for_a_batch_gets_a_smaller_one(tmp_path: Path) -> None:
    package = packaged(tmp_path, mean_network())

    assert plan_batches(package, Slow(opened(package), 8), on_gpu=True).capacity == 8


@pytest.mark.parametrize("most", [0, 1025])
def test_a_batch_that_makes_no_sense_is_a_fault_of_the_manifest(tmp_path: Path, most: int) -> None:
    builder = PackageBuilder(tmp_path / "package", mean_network(), {"batch": {"max": most}})

    with pytest.raises(Exception, match=r"batch\.max"):
        load_package(builder.write())


def test_a_network_with_an_output_of_its_own_length_runs_alone(tmp_path: Path) -> None:
    """Outputs that have no row per picture cannot be told apart again."""
    network = mean_network([helper.make_node("ReduceMax", ["image"], ["peak"], keepdims=0)])
    network.graph.output.append(helper.make_tensor_value_info("peak", TensorProto.FLOAT, []))
    package = packaged(tmp_path, network)

    assert plan_batches(package, opened(package), on_gpu=True).capacity == 1
