"""From pictures to predictions: decode, gate, network, meaning."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.scancer.catalogue import Catalogue
from services.scancer.counting import Counting
from services.scancer.errors import NotExplained, PictureRefused, UnreadableBody
from shared.imaging import Decoder, Picture
from shared.inference import (
    EvidencePolicy,
    Manifest,
    Network,
    Outputs,
    enforce_evidence,
    read_picture,
)
from shared.inference.answers import activated, decisions, probabilities
from shared.inference.explain import Method, explain

GatePolicy = Literal["mark", "refuse"]
CLASSIFIES = frozenset({"image-classification", "multi-label"})


class Verdict(NamedTuple):
    """What a gate says about a picture."""

    accepted: bool = True
    reasons: tuple[str, ...] = ()


class Gate(Protocol):
    """Judges whether a picture is what a network was made for."""

    def __call__(self, manifest: Manifest, picture: Picture) -> Verdict | None:
        """The verdict; None where no gate is made for this network."""
        ...


class Prediction(NamedTuple):
    """What a network says about one picture."""

    label: int | None
    """The index of the label; None for tasks without one."""
    label_name: str | None
    probability: float | None
    """Of the positive label in a binary task, else of the predicted one."""
    probabilities: dict[str, float]
    found: dict[str, bool]
    """For every label with an operating point whether it reaches it."""
    values: dict[str, float]
    """What a regression gives."""
    gate: Verdict | None


class Predicted(NamedTuple):
    """The predictions of one request, all by the same network."""

    manifest: Manifest
    version: str
    predictions: tuple[Prediction, ...]


class Explained(NamedTuple):
    """Where a network looked in one picture."""

    manifest: Manifest
    prediction: Prediction
    maps: NDArray[np.float32]
    """`(labels, h, w)`, unbounded."""
    method: Method


class Prepared(NamedTuple):
    """A picture as the network reads it."""

    tensor: NDArray[np.float32]
    """`(1, C, H, W)`."""
    gate: Verdict | None
    ready_at: float
    """By `time.perf_counter`."""


class Seen(NamedTuple):
    """What a network gave for the pictures of one request."""

    outputs: Outputs
    verdicts: list[Verdict | None]
    ready_at: float
    """When the last picture was ready for the network, by `time.perf_counter`."""


Image = bytes | NDArray[np.float32]
"""An encoded picture, or figures that are the network's input already, `(C, H, W)`."""


class Predictor:
    """Answers requests with whatever version of a model is meant."""

    def __init__(
        self,
        catalogue: Catalogue,
        decoder: Decoder,
        counting: Counting,
        gate: Gate,
        *,
        evidence: EvidencePolicy,
        gate_policy: GatePolicy,
        deadline_s: float,
    ) -> None:
        self._catalogue = catalogue
        self._decoder = decoder
        self._counting = counting
        self._gate = gate
        self._evidence = evidence
        self._gate_policy = gate_policy
        self._deadline_s = deadline_s
        self._preparing = 0

    async def predict(self, name: str, version: str | None, images: Sequence[Image]) -> Predicted:
        """Predict for every picture, with one version of the network.

        Raises:
            Problem: the model is not there, a picture is not readable, or there is no time.
        """
        began_at = time.perf_counter()
        found = await self._catalogue.get(name, version)
        with found.require_served().use() as network:
            manifest = network.manifest
            enforce_evidence(self._evidence, manifest.evidence)
            _require_meaning(manifest)
            outputs, verdicts, ready_at = await self._look_at(network, images)
            computed_s = time.perf_counter() - ready_at
            rows = outputs[manifest.output.name]
            predictions = tuple(
                predict_from(manifest, row, verdict)
                for row, verdict in zip(rows, verdicts, strict=True)
            )
        self._counting.add(
            name,
            version,
            handled_s=time.perf_counter() - began_at,
            computed_s=computed_s,
        )
        return Predicted(manifest, found.registration.version, predictions)

    async def explain(self, name: str, version: str | None, image: Image) -> Explained:
        """Where the network looked; without stated maps that takes a hundred runs or more.

        Raises:
            NotExplained: the network's task has nothing to explain.
            Problem: what `predict` raises.
        """
        found = await self._catalogue.get(name, version)
        with found.require_served().use() as network:
            manifest = network.manifest
            enforce_evidence(self._evidence, manifest.evidence)
            if manifest.task not in CLASSIFIES:
                raise NotExplained(f"Answers of a {manifest.task} network are not explained.")
            [prepared] = await self._prepare_all(network, [image])
            outputs = await network.run(prepared.tensor, deadline_s=self._deadline_s)
            prediction = predict_from(manifest, outputs[manifest.output.name][0], prepared.gate)
            explanation = await explain(network, prepared.tensor)
        return Explained(manifest, prediction, explanation.maps, explanation.method)

    async def _look_at(self, network: Network, images: Sequence[Image]) -> Seen:
        """Let the network see the pictures of one request, in one run."""
        if len(images) == 1:
            [image] = images
            if isinstance(image, bytes):
                return await self._look_at_picture(network, image)
            taken = _taken_as_it_is(network, image)
            outputs = await network.run(taken.tensor, deadline_s=self._deadline_s)
            return Seen(outputs, [taken.gate], taken.ready_at)
        prepared = await self._prepare_all(network, images)
        tensors = [each.tensor for each in prepared]
        outputs = await network.run(np.concatenate(tensors), deadline_s=self._deadline_s)
        ready_at = max(each.ready_at for each in prepared)
        return Seen(outputs, [each.gate for each in prepared], ready_at)

    async def _look_at_picture(self, network: Network, image: bytes) -> Seen:
        """One picture: decoded, judged and looked at by one thread where that is cheapest."""
        found: list[Prepared] = []
        outputs = await read_picture(
            network,
            image,
            self._decoder,
            prepare=partial(self._prepare_into, found, network),
            target_px=network.package.preprocess.target_px,
            prepares_quickly=network.manifest.gate is None,
            deadline_s=self._deadline_s,
        )
        [prepared] = found
        return Seen(outputs, [prepared.gate], prepared.ready_at)

    def _prepare_into(
        self, found: list[Prepared], network: Network, picture: Picture
    ) -> NDArray[np.float32]:
        """The network's input; what else is known of the picture goes into `found`."""
        prepared = self._prepared(network, picture)
        found.append(prepared)
        return prepared.tensor

    async def _prepare_all(self, network: Network, images: Sequence[Image]) -> list[Prepared]:
        """Decode and judge pictures, unless their answer would come too late anyway."""
        network.require_time(deadline_s=self._deadline_s, preparing=self._preparing)
        self._preparing += len(images)
        try:
            if len(images) == 1:
                return [await self._prepare(network, images[0])]
            return list(await asyncio.gather(*(self._prepare(network, each) for each in images)))
        finally:
            self._preparing -= len(images)

    async def _prepare(self, network: Network, image: Image) -> Prepared:
        if not isinstance(image, bytes):
            return _taken_as_it_is(network, image)
        return await self._decoder.apply(
            partial(self._prepared, network),
            image,
            target_px=network.package.preprocess.target_px,
        )

    def _prepared(self, network: Network, picture: Picture) -> Prepared:
        """A decoded picture as the network reads it; raises `PictureRefused`."""
        manifest = network.manifest
        verdict = self._gate(manifest, picture)
        if verdict is not None and not verdict.accepted and self._gate_policy == "refuse":
            raise PictureRefused(
                f"The picture is not what {manifest.id} was made for.",
                reasons=list(verdict.reasons),
            )
        tensor = network.package.preprocess(picture.pixels)[np.newaxis]
        return Prepared(tensor, verdict, time.perf_counter())


def _taken_as_it_is(network: Network, figures: NDArray[np.float32]) -> Prepared:
    """Figures that are the network's input already; no gate looks at them."""
    wanted = network.package.preprocess.shape
    if figures.shape != wanted:
        raise UnreadableBody(f"The network reads figures of {wanted}, not {figures.shape}.")
    tensor = np.ascontiguousarray(figures, np.float32)[np.newaxis]
    return Prepared(tensor, None, time.perf_counter())


def _require_meaning(manifest: Manifest) -> None:
    if manifest.task not in CLASSIFIES and manifest.task != "regression":
        raise NotExplained(
            f"A {manifest.task} network has no answer in one word; ask it through "
            f"/v2/models/{manifest.id}/infer."
        )


def predict_from(
    manifest: Manifest, row: NDArray[np.float32], gate: Verdict | None = None
) -> Prediction:
    """What one row of the network's output means.

    A binary network says "positive" from its operating point on, 0.5 where it has none; any other
    single-label network says its most probable label.
    """
    if manifest.task == "regression":
        values = activated(manifest.output, row.reshape(-1))
        named = {
            label: float(figure) for label, figure in zip(manifest.labels, values, strict=True)
        }
        return Prediction(None, None, None, {}, {}, named, gate)
    probability_of = probabilities(manifest, row)
    labels = manifest.labels
    positive = _positive(manifest)
    if positive is not None:
        point = manifest.operating_points.get(positive, 0.5)
        is_positive = probability_of[positive] >= point
        label_name = positive if is_positive else next(each for each in labels if each != positive)
        probability = probability_of[positive]
    else:
        label_name = max(labels, key=probability_of.__getitem__)
        probability = probability_of[label_name]
    return Prediction(
        label=labels.index(label_name),
        label_name=label_name,
        probability=probability,
        probabilities=probability_of,
        found=decisions(manifest, probability_of),
        values={},
        gate=gate,
    )


def _positive(manifest: Manifest) -> str | None:
    """The label that a binary task is about."""
    if manifest.task != "image-classification" or len(manifest.labels) != 2:
        return None
    return manifest.output.positive or manifest.labels[1]
