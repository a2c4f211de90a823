"""The real classifier around a network of a few nodes, built here."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.chexray.radiograph import draw_radiograph
from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.domain import GateReason, Pathology
from services.chexray.heatmaps import heat_of
from services.chexray.inference import NetworkClassifier
from shared.imaging import DecodePool, Picture, ThreadDecoder, UnreadableImage
from shared.inference import Engine, EngineBusy, Network, load_package


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The network that is shipped, on the processor."""
    with Engine("cpu", 1) as engine:
        yield engine.load(load_package(SHIPPED_PACKAGE))


@pytest.fixture
def classifier(network: Network) -> NetworkClassifier:
    """It, reading radiographs."""
    return NetworkClassifier(network, ThreadDecoder(1))


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """As PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


async def test_the_shipped_network_reads_a_chest(classifier: NetworkClassifier) -> None:
    """Five probabilities, operating points of its manifest, and maps that cover the picture."""
    opened = await classifier.open(encoded(draw_radiograph(600)))
    reading = await classifier.read(opened)

    assert opened.gate.accepted
    assert (opened.format, opened.width_px, opened.height_px) == ("png", 600, 600)
    assert [finding.label for finding in reading.findings] == list(Pathology)
    assert all(0 < finding.probability < 1 for finding in reading.findings)
    assert all(0 < finding.operating_point < 1 for finding in reading.findings)
    assert reading.maps is not None
    assert reading.maps.covers_xyxy == (0, 0, 1, 1)


async def test_a_picture_on_its_side_is_read_upright(classifier: NetworkClassifier) -> None:
    """The same probabilities as of the upright one, and maps that lie as the picture does."""
    upright = draw_radiograph(512)
    lying = np.ascontiguousarray(np.rot90(upright, -1))
    first = await classifier.read(await classifier.open(encoded(upright)))
    second = await classifier.read(await classifier.open(encoded(lying)))
    assert first.maps is not None
    assert second.maps is not None

    for one, other in zip(first.findings, second.findings, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
    np.testing.assert_allclose(
        np.rot90(heat_of(first.maps, Pathology.CARDIOMEGALY), -1),
        heat_of(second.maps, Pathology.CARDIOMEGALY),
        atol=1e-3,
    )


async def test_the_network_does_not_see_what_the_gate_refuses(
    classifier: NetworkClassifier,
) -> None:
    """There is no tensor at all."""
    opened = await classifier.open(encoded(np.full((256, 256), 9, np.uint8)))

    assert opened.tensor is None
    assert opened.gate.reasons == (GateReason.LOW_CONTRAST,)
    with pytest.raises(ValueError, match="refused"):
        await classifier.read(opened)


def test_the_model_names_itself_as_its_manifest_does(
    classifier: NetworkClassifier, network: Network
) -> None:
    """Identifier, version, hash, evidence, calibration."""
    model = classifier.model

    assert (model.id, model.version) == (network.manifest.id, network.manifest.version)
    assert model.sha256 == network.manifest.sha256
    assert (model.evidence, model.calibrated) == ("demo", True)


def test_the_shipped_package_lies_in_the_service() -> None:
    """So that an image of the service holds it."""
    assert (SHIPPED_PACKAGE / "model.yaml").is_relative_to(Path(__file__).parents[3] / "services")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
async def test_examining_finds_what_decoding_and_reading_find(network: Network, kind: str) -> None:
    """To the last bit: one thread after the other or one alone."""
    file = io.BytesIO()
    Image.fromarray(draw_radiograph(700)).save(file, kind)
    told: list[bool] = []
    async with DecodePool(1) as pool:
        classifier = NetworkClassifier(network, pool)
        opened, reading = await classifier.examine(file.getvalue(), lambda: told.append(True))
        expected = await classifier.open(file.getvalue())

    assert reading == await classifier.read(expected)
    assert (opened.gate, opened.format, opened.width_px, opened.covers_xyxy) == (
        expected.gate, expected.format, expected.width_px, expected.covers_xyxy
    )  # fmt: skip
    np.testing.assert_array_equal(opened.tensor, expected.tensor)
    assert told == [True]


async def test_what_the_gate_refuses_is_a_picture_without_findings(
    classifier: NetworkClassifier,
) -> None:
    told: list[bool] = []
    image = encoded(np.full((256, 256), 9, np.uint8))
    opened, reading = await classifier.examine(image, lambda: told.append(True))

    assert opened.gate.reasons == (GateReason.LOW_CONTRAST,)
    assert (reading.findings, reading.maps) == ((), None)
    assert told == [True]


async def test_what_is_no_picture_is_nothing_to_keep(classifier: NetworkClassifier) -> None:
    told: list[bool] = []
    with pytest.raises(UnreadableImage):
        await classifier.examine(encoded(draw_radiograph(300))[:-2000], lambda: told.append(True))

    assert told == []


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
async def test_a_radiograph_that_has_no_time_is_refused_undecoded(
    network: Network, kind: str
) -> None:
    """Decoding it would take the time of those that have some."""

    class Untouched(DecodePool):
        """Takes note of what it is given to decode."""

        decoded = 0

        async def decode(self, data: bytes, *, target_px: int | None = None) -> Picture:
            """Count."""
            self.decoded += 1
            return await super().decode(data, target_px=target_px)

    file = io.BytesIO()
    Image.fromarray(draw_radiograph(300)).save(file, kind)
    told: list[bool] = []
    tensor = np.zeros((1, *network.package.preprocess.shape), np.float32)
    usual_run_s = network.lane.usual_run_s
    async with Untouched(1) as pool:
        classifier = NetworkClassifier(network, pool)
        network.lane.usual_run_s = 20.0
        waiting = [asyncio.create_task(network.run(tensor)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(EngineBusy) as busy:
            await classifier.examine(file.getvalue(), lambda: told.append(True))
        decoded = pool.decoded
        await asyncio.gather(*waiting, return_exceptions=True)
    network.lane.usual_run_s = usual_run_s

    assert int(busy.value.headers["Retry-After"]) >= 20
    assert (decoded, told) == (0, [])
