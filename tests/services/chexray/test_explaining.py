"""Heatmaps of networks that state no maps of their own."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.domain import (
    ANONYMOUS_OWNER,
    ImageFacts,
    ModelIdentity,
    Pathology,
    Study,
    findings_from,
    new_study_id,
)
from services.chexray.explaining import Explainer
from services.chexray.gate import judge
from services.chexray.heatmaps import heat_of
from services.chexray.inference import NetworkClassifier
from shared.imaging import ThreadDecoder, decode
from shared.inference import Engine, load_package
from shared.problems import Unavailable
from tests.services.chexray.support import (
    MODEL,
    OPERATING_POINTS,
    PROBABILITIES,
    REFUSED,
    Bench,
    StubClassifier,
    png,
    stranger,
)

STUDIES = "/api/v2/chexray/studies"


def study_of(sha256: str = "c" * 64, model: ModelIdentity = MODEL) -> Study:
    """A study whose network stated no maps."""
    return Study(
        id=new_study_id(),
        number=1,
        owner=ANONYMOUS_OWNER,
        title="Chest",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        image=ImageFacts(sha256, 100, "png", 64, 64, "chest.png"),
        media_token="t" * 22,
        gate=StubClassifier().gate,
        findings=findings_from(PROBABILITIES, OPERATING_POINTS),
        model=model,
    )


async def test_who_ask_together_share_one_explanation() -> None:
    """Five labels of a picture are five requests and one sweep."""
    classifier = StubClassifier()
    explainer = Explainer(classifier)
    found = await asyncio.gather(*(explainer.find_maps(study_of(), png()) for _ in range(5)))

    assert classifier.explanations == 1
    assert all(maps == found[0] for maps in found)
    assert found[0] is not None


async def test_only_the_last_explanations_are_remembered() -> None:
    classifier = StubClassifier()
    explainer = Explainer(classifier, remembered=2)
    for sha256 in ("a", "b", "a", "c", "a", "b"):
        await explainer.find_maps(study_of(sha256), png())

    assert classifier.explanations == 4


async def test_no_more_wait_than_may() -> None:
    """Each holds a picture; what is remembered needs no turn."""
    explainer = Explainer(StubClassifier(), max_waiting=2)
    remembered = await explainer.find_maps(study_of("a"), png())
    first, second, third, known = await asyncio.gather(
        *(explainer.find_maps(study_of(sha256), png()) for sha256 in ("b", "c", "d", "a")),
        return_exceptions=True,
    )

    assert first == second == known == remembered
    assert isinstance(third, Unavailable)
    assert third.headers["Retry-After"] == "5"
    assert await explainer.find_maps(study_of("d"), png()) == remembered


async def test_another_network_does_not_explain_for_the_one_that_read() -> None:
    """Its map would be true of an answer that nobody got."""
    classifier = StubClassifier()
    study = study_of(model=replace(MODEL, sha256="d" * 64))

    assert await Explainer(classifier).find_maps(study, png()) is None
    assert classifier.explanations == 0


async def test_what_the_gate_refuses_by_now_is_not_explained() -> None:
    classifier = StubClassifier(gate=REFUSED)

    assert await Explainer(classifier).find_maps(study_of(), png()) is None


async def upload(client: httpx.AsyncClient, who: Mapping[str, str]) -> str:
    """The address of a new study's heatmap."""
    files = {"image": ("chest.png", png(), "image/png")}
    answer = await client.post(STUDIES, files=files, headers=who)
    return str(answer.json()["heatmap_url"])


async def test_a_heatmap_is_found_when_it_is_asked_for(
    bench: Bench, as_bob: Mapping[str, str]
) -> None:
    """And is the one that a network with maps would have had."""
    bench.classifier.states_maps = False
    async with bench.serve() as client:
        url = await upload(client, as_bob)
        explained_at_upload = bench.classifier.explanations
        found = await client.get(url, params={"label": "edema"}, headers=as_bob)
        again = await client.get(url, params={"label": "edema"}, headers=as_bob)
        bench.classifier.states_maps = True
        stated = await client.get(
            await upload(client, as_bob), params={"label": "edema"}, headers=as_bob
        )

    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    assert found.content == again.content == stated.content
    assert (explained_at_upload, bench.classifier.explanations) == (0, 1)


async def test_a_heatmap_of_a_network_that_is_gone_is_a_clear_answer(
    bench: Bench, as_bob: Mapping[str, str]
) -> None:
    bench.classifier.states_maps = False
    async with bench.serve() as client:
        url = await upload(client, as_bob)
        bench.classifier.model = replace(MODEL, sha256="d" * 64)
        answer = await client.get(url, headers=as_bob)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-heatmap")
    assert "any more" in answer.json()["detail"]


@pytest.mark.parametrize(("sha256", "status"), [(MODEL.sha256, 200), ("d" * 64, 404)])
async def test_the_old_wire_shows_what_can_be_found(bench: Bench, sha256: str, status: int) -> None:
    """And knows no picture where nothing can."""
    bench.classifier.states_maps = False
    async with bench.serve() as client:
        sent = await client.post(
            "/api/chexray/anonupload/",
            files={"image": ("chest.png", png(), "image/png")},
            data={"title": "Chest"},
            headers=stranger(),
        )
        bench.classifier.model = replace(MODEL, sha256=sha256)
        answer = await client.get(sent.json()["heatmap_image"], headers=stranger())

    assert answer.status_code == status


@pytest.fixture
def without_maps(tmp_path: Path) -> Iterator[NetworkClassifier]:
    """The shipped network in a package that names no maps."""
    folder = tmp_path / "package"
    shutil.copytree(SHIPPED_PACKAGE, folder)
    members = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    del members["explain"]
    (folder / "model.yaml").write_text(yaml.safe_dump(members), encoding="utf-8")
    with Engine("cpu", threads=2) as engine:
        network = engine.load(load_package(folder))
        yield NetworkClassifier(network, ThreadDecoder(1))


async def test_a_real_network_without_maps_is_explained_by_occlusion(
    without_maps: NetworkClassifier,
) -> None:
    """Each finding has a map of its own, over the whole picture."""
    image = next(
        image
        for path in sorted((SHIPPED_PACKAGE / "vectors").iterdir())
        if judge(decode(image := path.read_bytes())).accepted
    )
    opened = await without_maps.open(image)
    reading = await without_maps.read(opened)
    maps = await without_maps.explain(opened)
    heats = np.stack([heat_of(maps, label) for label in Pathology])

    assert reading.maps is None
    assert (maps.rows, maps.columns, maps.covers_xyxy) == (14, 14, (0, 0, 1, 1))
    np.testing.assert_array_equal(heats.max(axis=(1, 2)), 1)
    assert len(np.unique(heats.reshape(5, -1), axis=0)) == 5


async def test_what_the_gate_refused_cannot_be_explained(without_maps: NetworkClassifier) -> None:
    noise = png(mode="RGB")
    opened = await without_maps.open(noise)

    assert not opened.gate.accepted
    with pytest.raises(ValueError, match="refused"):
        await without_maps.explain(opened)
