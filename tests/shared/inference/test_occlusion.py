"""Maps found by hiding places, and the scores that tell whether a map is true."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.inference import Engine, Priority, load_package
from shared.inference.batching import Outputs
from shared.inference.explain import explain, stated_maps
from shared.inference.faithfulness import faithfulness, stretched
from shared.inference.manifest import Manifest, to_manifest
from shared.inference.occlusion import (
    Grid,
    blurred,
    edges,
    grid_for,
    label_scores,
    occlusion_maps,
)
from tests.shared.inference.packages import PackageBuilder

SIDE_PX = 64
SPOT = (slice(8, 24), slice(40, 56))


def manifest_of(tmp_path_members: PackageBuilder, **output: object) -> Manifest:
    """The manifest of the tests' package, with another output."""
    members = tmp_path_members.manifest(b"")
    members["output"] = {
        "name": "logits",
        "activation": "sigmoid",
        "labels": ["cat", "dog"],
    } | output
    members["operating_points"] = {}
    return to_manifest(members)


@dataclass
class SpotNetwork:
    """Sees a cat where one spot is brighter than the rest, and a dog where it is darker."""

    manifest: Manifest
    priorities: set[Priority] = field(default_factory=set)
    pictures: int = 0
    largest: int = 0
    fails_after: int | None = None

    async def run(
        self, tensor: NDArray[np.float32], *, priority: Priority = Priority.INTERACTIVE
    ) -> Outputs:
        """See `Runner`."""
        self.priorities.add(priority)
        self.pictures += len(tensor)
        self.largest = max(self.largest, len(tensor))
        if self.fails_after is not None and self.pictures > self.fails_after:
            raise RuntimeError("the device is gone")
        spot = tensor[:, 0, *SPOT].mean(axis=(1, 2)) - tensor[:, 0].mean(axis=(1, 2))
        return {"logits": np.stack([6 * spot - 3, 3 - 6 * spot], axis=1).astype(np.float32)}


@pytest.fixture
def network(package: PackageBuilder) -> SpotNetwork:
    """A network that looks at one spot."""
    return SpotNetwork(manifest_of(package))


@pytest.fixture
def bright_spot() -> NDArray[np.float32]:
    """A picture that is bright where the network looks, and in one place where it does not."""
    tensor = np.zeros((1, 1, SIDE_PX, SIDE_PX), np.float32)
    tensor[0, 0, *SPOT] = 1
    tensor[0, 0, 44:60, 4:20] = 1
    return tensor


async def test_the_map_peaks_where_the_network_looks(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    maps = await occlusion_maps(network, bright_spot, Grid(8, 8))
    row, column = np.unravel_index(maps[0].argmax(), maps[0].shape)

    assert maps.shape == (2, 8, 8)
    assert 1 <= row < 3
    assert 5 <= column < 7
    np.testing.assert_allclose(maps[1], -maps[0], atol=1e-6)


async def test_a_place_that_speaks_against_is_negative(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    """The second bright place raises the mean, against which the spot is held."""
    maps = await occlusion_maps(network, bright_spot, Grid(8, 8))

    assert maps[0, 6, 1] < 0


async def test_the_same_picture_has_the_same_map(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    first = await occlusion_maps(network, bright_spot)

    np.testing.assert_array_equal(first, await occlusion_maps(network, bright_spot))


async def test_a_blank_picture_has_a_blank_map(network: SpotNetwork) -> None:
    maps = await occlusion_maps(network, np.full((1, 1, SIDE_PX, SIDE_PX), 0.5, np.float32))

    np.testing.assert_allclose(maps, 0, atol=1e-5)


async def test_the_network_is_asked_in_batches_that_give_way(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    """One picture per place and the picture itself; people who wait come first."""
    grid = Grid(8, 8)
    await occlusion_maps(network, bright_spot, grid)

    assert network.pictures == grid.places + 1 == 50
    assert network.largest == 8
    assert network.priorities == {Priority.BATCH}


async def test_a_failing_network_fails_the_map(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    network.fails_after = 10

    with pytest.raises(RuntimeError, match="device is gone"):
        await occlusion_maps(network, bright_spot, Grid(8, 8))
    assert network.pictures < 50


@pytest.mark.parametrize(
    ("size_px", "grid"),
    [
        ((224, 224), Grid(14, 14)),
        ((96, 96), Grid(6, 6)),
        ((512, 512), Grid(14, 14)),
        ((320, 160), Grid(14, 10)),
        ((8, 8), Grid(4, 4)),
        ((1, 1), Grid(1, 1, 1)),
    ],
)
def test_the_grid_follows_from_the_inputs_size(size_px: tuple[int, int], grid: Grid) -> None:
    assert grid_for(*size_px) == grid


@pytest.mark.parametrize(("side_px", "cells"), [(224, 14), (100, 7), (5, 5)])
def test_cells_cover_an_axis_without_gaps(side_px: int, cells: int) -> None:
    found = edges(side_px, cells)

    assert (found[0], found[-1], len(found)) == (0, side_px, cells + 1)
    assert all(start < end for start, end in itertools.pairwise(found))


def test_the_blur_is_the_mean_of_means() -> None:
    """A single bright pixel becomes a pyramid: 1/9 each, then 3 by 3 of those."""
    dot = np.zeros((1, 1, 7, 7), np.float32)
    dot[0, 0, 3, 3] = 1
    soft = blurred(dot, 1)[0, 0]

    np.testing.assert_allclose(soft[3], np.array([0, 1, 2, 3, 2, 1, 0]) * 3 / 81, atol=1e-7)
    assert soft.sum() == pytest.approx(1)


def test_the_blur_of_a_plain_picture_is_itself() -> None:
    plain = np.full((1, 3, 5, 9), 0.25, np.float32)

    np.testing.assert_allclose(blurred(plain, 4), plain, atol=1e-6)


def test_scores_of_one_logit_are_of_both_labels(package: PackageBuilder) -> None:
    manifest = manifest_of(package)

    np.testing.assert_array_equal(
        label_scores(manifest, np.array([[2.0]], np.float32)), [[-2.0, 2.0]]
    )


def test_scores_of_a_softmax_are_logarithms_of_probabilities(package: PackageBuilder) -> None:
    manifest = manifest_of(package, activation="softmax")
    scores = label_scores(manifest, np.array([[1000.0, 1000.0], [0.0, np.log(3)]], np.float32))

    np.testing.assert_allclose(np.exp(scores), [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


def test_an_output_that_is_not_per_label_cannot_be_explained(package: PackageBuilder) -> None:
    with pytest.raises(ValueError, match="not one figure per label"):
        label_scores(manifest_of(package), np.zeros((1, 2, 4, 4), np.float32))


async def test_a_true_map_is_more_faithful_than_its_reverse(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    heat = (await occlusion_maps(network, bright_spot))[0]
    true = await faithfulness(network, bright_spot, 0, heat)
    reverse = await faithfulness(network, bright_spot, 0, -heat)

    assert true.deletion < reverse.deletion
    assert true.insertion > reverse.insertion
    assert true.margin > 0.2 > 0 > reverse.margin


async def test_the_curves_run_from_the_picture_to_its_blur_and_back(
    network: SpotNetwork, bright_spot: NDArray[np.float32]
) -> None:
    found = await faithfulness(network, bright_spot, 0, np.zeros((2, 2), np.float32), steps=4)

    assert len(found.deletion_curve) == len(found.insertion_curve) == 5
    assert found.deletion_curve[0] == pytest.approx(found.insertion_curve[-1])
    assert found.deletion_curve[-1] == pytest.approx(found.insertion_curve[0])
    assert found.deletion == pytest.approx(np.trapezoid(found.deletion_curve, dx=0.25))


def test_a_map_is_stretched_between_the_centres_of_its_cells() -> None:
    wide = stretched(np.array([[0, 1]], np.float32), 1, 4)

    np.testing.assert_allclose(wide, [[0, 0.25, 0.75, 1]])
    np.testing.assert_allclose(stretched(np.ones((3, 1), np.float32), 5, 7), np.ones((5, 7)))


async def test_a_package_without_maps_is_explained_by_occlusion(
    package: PackageBuilder, cpu_engine: Engine
) -> None:
    """Through the real engine: every place of a mean counts by its brightness."""
    package.write()
    network = cpu_engine.load(load_package(package.folder))
    tensor = np.zeros((1, 1, 8, 8), np.float32)
    tensor[0, 0, :4, :4] = 1
    explanation = await explain(network, tensor)

    assert explanation.method == "occlusion"
    assert explanation.maps.shape == (2, 4, 4)
    assert explanation.maps[0, :2, :2].mean() > explanation.maps[0, 2:, 2:].mean()


def test_maps_of_features_are_the_same_for_every_label(package: PackageBuilder) -> None:
    members = package.manifest(b"") | {"explain": {"features": "features"}}
    features = np.random.default_rng(0).random((1, 6, 3, 3)).astype(np.float32)
    found = stated_maps(to_manifest(members), {"features": features})

    assert found is not None
    assert found.method == "features"
    assert found.maps.shape == (2, 3, 3)
    np.testing.assert_array_equal(found.maps[0], found.maps[1])


@pytest.mark.parametrize("answered", [1, 2])
def test_maps_of_the_network_are_taken_as_they_are(package: PackageBuilder, answered: int) -> None:
    members = package.manifest(b"") | {"explain": {"features": "features", "maps": "cam"}}
    cam = np.arange(answered * 4, dtype=np.float32).reshape(1, answered, 2, 2)
    found = stated_maps(to_manifest(members), {"cam": cam})

    assert found is not None
    assert found.method == "maps"
    np.testing.assert_array_equal(found.maps[0], cam[0, 0])
    np.testing.assert_array_equal(found.maps[1], cam[0, -1])
