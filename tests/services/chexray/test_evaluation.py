"""`vedette evaluate chexray` reads pictures as the service does."""

from collections.abc import Iterator

import numpy as np
import pytest

from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.domain import Pathology
from services.chexray.evaluation import ALIASES, open_evaluator
from services.chexray.gate import judge
from shared.evaluation.labels import column_word
from shared.evaluation.source import Evaluator, PictureRefused, evaluator_factory
from shared.imaging import UnsupportedImage, decode, to_png
from shared.inference import PackageNotFound
from shared.inference.package import read_manifest

MANIFEST = read_manifest(SHIPPED_PACKAGE)


@pytest.fixture
def evaluator() -> Iterator[Evaluator]:
    """The service's pipeline with the shipped network."""
    with open_evaluator(MANIFEST.id) as evaluator:
        yield evaluator


async def test_probabilities_are_those_of_the_package_after_calibration(
    evaluator: Evaluator,
) -> None:
    """The manifest's test vectors, which are before calibration, divided by the temperature."""
    assert MANIFEST.calibration is not None
    compared = 0
    for vector in MANIFEST.test_vectors:
        image = (SHIPPED_PACKAGE / vector.input).read_bytes()
        if not judge(decode(image)).accepted:
            continue
        stated = np.array(vector.output)
        logits = np.log(stated / (1 - stated)) / MANIFEST.calibration.value
        found = await evaluator.probabilities(image)

        assert list(found) == list(MANIFEST.labels)
        np.testing.assert_allclose(list(found.values()), 1 / (1 + np.exp(-logits)), atol=2e-3)
        compared += 1
    assert compared > 0


async def test_what_the_gate_refuses_has_no_probability(evaluator: Evaluator) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)

    with pytest.raises(PictureRefused) as refused:
        await evaluator.probabilities(to_png(noise))
    assert "colour" in refused.value.reasons


async def test_what_is_no_picture_is_a_problem(evaluator: Evaluator) -> None:
    with pytest.raises(UnsupportedImage):
        await evaluator.probabilities(b"a letter")


def test_the_evaluator_names_its_model_and_points(evaluator: Evaluator) -> None:
    assert evaluator.model.name == MANIFEST.name
    assert evaluator.model.sha256 == MANIFEST.sha256
    assert list(evaluator.operating_points) == [str(label) for label in Pathology]
    assert evaluator.operating_points["edema"] == MANIFEST.operating_points["edema"]


def test_a_package_that_is_not_here_is_named() -> None:
    with pytest.raises(PackageNotFound, match="'nowhere@9'"), open_evaluator("nowhere@9"):
        pass


def test_aliases_are_words_and_stand_for_findings() -> None:
    assert all(word == column_word(word) for word in ALIASES)
    assert set(ALIASES.values()) <= set(Pathology)


def test_the_command_line_finds_the_evaluator_by_the_services_name() -> None:
    """Through the project's entry points; `make` installs them."""
    assert evaluator_factory("chexray") is open_evaluator
