"""The networks in the repository: whole, small, measured, and right on a photograph."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.netra.analysis.analyser import (
    LESION_PACKAGES,
    MODELS,
    RETINOPATHY_FILE,
    SURE_LESION,
    Analyser,
    create_analyser,
    stated_evidence,
)
from services.netra.analysis.lesions import LesionFinder
from services.netra.analysis.retinopathy import load_retinopathy
from services.netra.domain import AbstainReason, LesionType
from shared.imaging import Picture, decode
from shared.inference import Engine, Evidence, load_package
from tests.services.netra.analysis import drawn

MAX_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def analyser() -> Iterator[Analyser]:
    """What the service runs."""
    with Engine("cpu", threads=2) as engine:
        yield create_analyser(engine)


def test_manifests_state_what_the_loaded_networks_answer_with(analyser: Analyser) -> None:
    """The service goes by them before the networks are loaded."""
    assert stated_evidence() == analyser.evidence


def as_picture(pixels: drawn.Pixels) -> Picture:
    """A decoded upload."""
    return Picture(pixels, "png", pixels.shape[1], pixels.shape[0])


@pytest.mark.parametrize("name", LESION_PACKAGES)
def test_a_package_verifies_is_small_and_states_what_was_measured(name: str) -> None:
    """Hash, graph and test vectors are checked by loading it."""
    package = load_package(MODELS / name)

    assert package.network_bytes <= MAX_BYTES
    assert {row.label for row in package.manifest.card.measured} == set(LesionType)
    assert all(row.interval is not None for row in package.manifest.card.measured)
    assert (package.folder / "CARD.md").stat().st_size > 0


def test_a_verdict_is_refused_for_networks_it_was_not_fitted_to(tmp_path: Path) -> None:
    """Other maps have other figures; the probability would be a fiction."""
    members = json.loads((MODELS / RETINOPATHY_FILE).read_text(encoding="utf-8"))
    members["of"]["netra-lesions-a"] = "0" * 64
    altered = tmp_path / "retinopathy.json"
    altered.write_text(json.dumps(members), encoding="utf-8")
    with Engine("cpu", threads=1) as engine:
        finder = LesionFinder([engine.load(load_package(MODELS / n)) for n in LESION_PACKAGES])

        with pytest.raises(ValueError, match="fitted to other"):
            Analyser(finder, *load_retinopathy(altered))


def test_what_is_no_fundus_gets_no_verdict(analyser: Analyser) -> None:
    """And no lesions: the networks are not even asked."""
    found = analyser.analyse(as_picture(drawn.ball(np.random.default_rng(2))))

    assert not found.fundus.accepted
    assert found.reasons == (AbstainReason.NOT_A_FUNDUS,)
    assert found.retinopathy.probability is None
    assert found.lesions == ()
    assert {model.task for model in found.models} == {"gate", "quality"}
    assert found.evidence == Evidence.RULES


def test_an_ungradable_photograph_gets_no_verdict(analyser: Analyser, retina: drawn.Pixels) -> None:
    """Half a retina may hide the other half's lesions."""
    found = analyser.analyse(as_picture(np.ascontiguousarray(retina[:, :520])))

    assert found.fundus.accepted
    assert found.reasons == (AbstainReason.UNGRADABLE,)
    assert found.retinopathy.probability is None


def test_a_graded_photograph_names_every_network(analyser: Analyser, retina: drawn.Pixels) -> None:
    """What answered is on record: rules, both lesion networks, the verdict."""
    found = analyser.analyse(as_picture(retina))

    assert found.retinopathy.probability is not None
    assert sorted(model.task for model in found.models) == [
        "gate",
        "lesions",
        "lesions",
        "quality",
        "retinopathy",
    ]
    assert found.evidence == Evidence.RESEARCH


@pytest.mark.weights
def test_boxes_lie_on_the_lesions_of_a_photograph(analyser: Analyser, assets: Path) -> None:
    """Outlined by people: most hard exudates that are boxed touch one of theirs."""
    folder = assets / "idrid"
    picture = decode((folder / "lesions" / "IDRiD_05.jpg").read_bytes())
    outlined = json.loads((folder / "lesion_boxes.json").read_text(encoding="utf-8"))
    kind = outlined["categories"].index("hard_exudate")
    images = {Path(name).name: boxes for name, boxes in outlined["images"].items()}
    theirs = np.array([box[1:] for box in images["IDRiD_05.jpg"] if box[0] == kind])

    found = analyser.analyse(picture)
    ours = [
        lesion.box_xyxy_px for lesion in found.lesions if lesion.type is LesionType.HARD_EXUDATE
    ]

    assert (picture.width_px, picture.height_px) == (4288, 2848)
    touching = [
        bool(
            (
                (theirs[:, 0] < right)
                & (theirs[:, 0] + theirs[:, 2] > left)
                & (theirs[:, 1] < bottom)
                & (theirs[:, 1] + theirs[:, 3] > top)
            ).any()
        )
        for left, top, right, bottom in ours
    ]
    assert len(touching) >= 3
    assert np.mean(touching) >= 0.7
    assert LesionType.HARD_EXUDATE in found.masks


@pytest.mark.weights
def test_a_healthy_photograph_is_called_healthy_without_faint_spots(
    analyser: Analyser, assets: Path
) -> None:
    """What is left off is counted, so that lesions and verdict never differ in silence."""
    file = assets / "idrid" / "grading960" / "IDRiD_268.jpg"

    found = analyser.analyse(decode(file.read_bytes()))

    assert found.retinopathy.detected is False
    assert all(lesion.score >= SURE_LESION for lesion in found.lesions)
    assert any("Faint spots left out" in note for note in found.notes)
