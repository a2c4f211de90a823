"""From an uploaded file to findings: decode, gate, network, activation maps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.chexray.domain import (
    ActivationMaps,
    Finding,
    GateVerdict,
    ModelIdentity,
    Pathology,
    findings_from,
)
from services.chexray.gate import judge
from shared.imaging import Decoder, Picture
from shared.inference import Evidence, Network, Outputs, Preprocess, read_picture
from shared.inference.answers import probabilities
from shared.inference.explain import stated_maps
from shared.inference.occlusion import occlusion_maps

#: What an activation map may measure; larger ones are averaged down to it.
MAX_MAP_SIDE = 32
_GATE_SIDE_PX = 192
_MOST_KEPT = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded upload: what the gate thinks of it, and the network's input if it may see it."""

    format: str
    width_px: int
    height_px: int
    gate: GateVerdict
    tensor: NDArray[np.float32] | None
    """`(1, C, H, W)`, upright."""
    covers_xyxy: tuple[float, float, float, float]
    """The part of the picture that the network sees, in fractions of the picture as uploaded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the network found."""

    findings: tuple[Finding, ...]
    maps: ActivationMaps | None


class _GateRefused(Exception):
    """The network is not to see this picture."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.opened = opened


class Classifier(Protocol):
    """Reads radiographs; tests bring a stub."""

    @property
    def model(self) -> ModelIdentity:
        """Which network reads."""
        ...

    async def examine(
        self, image: bytes, on_opened: Callable[[], object]
    ) -> tuple[Opened, Reading]:
        """Decode and judge an upload, and let the network look at what the gate accepts.

        Args:
            image: the file.
            on_opened: called once, in any thread, when the file is known to be a picture, and
                before the network looks at it.

        Returns:
            What was decoded, and what was found: nothing where the gate refuses.

        Raises:
            The problems of `shared.imaging`, and those of an engine that has no time; the picture
            has not been decoded then.
        """
        ...

    async def open(self, image: bytes) -> Opened:
        """Decode and judge an upload; raises the problems of `shared.imaging`."""
        ...


class NetworkClassifier:
    """Reads radiographs with a loaded network."""

    def __init__(self, network: Network, decoder: Decoder) -> None:
        """Learn what the network's package says.

        Raises:
            ValueError: the package does not name the five findings.
        """
        manifest = network.manifest
        absent = set(Pathology) - set(manifest.labels)
        if absent:
            raise ValueError(f"{manifest.name} has no output for {', '.join(sorted(absent))}")
        self._network = network
        self._decoder = decoder
        self._preprocess = network.package.preprocess
        self._places = [manifest.labels.index(label) for label in Pathology]
        self._operating_points = [manifest.operating_points.get(label, 0.5) for label in Pathology]
        self._target_px = max(*manifest.input.size, _GATE_SIDE_PX)
        self._model = ModelIdentity(
            id=manifest.id,
            version=manifest.version,
            sha256=manifest.sha256,
            evidence=str(manifest.evidence),
            calibrated=manifest.calibration is not None,
        )

    @property
    def model(self) -> ModelIdentity:
        """See `Classifier`."""
        return self._model

    @property
    def evidence(self) -> Evidence:
        """The evidence level of the network's package."""
        return self._network.manifest.evidence

    async def examine(
        self, image: bytes, on_opened: Callable[[], object]
    ) -> tuple[Opened, Reading]:
        """See `Classifier`: one thread does it all where that is cheapest."""

        def prepare(picture: Picture) -> NDArray[np.float32]:
            opened = self._judged(picture)
            if opened.tensor is None:
                raise _GateRefused(opened)
            on_opened()
            examined.append(opened)
            return opened.tensor

        examined: list[Opened] = []
        try:
            outputs = await read_picture(
                self._network, image, self._decoder, prepare=prepare, target_px=self._target_px
            )
        except _GateRefused as refused:
            on_opened()
            return refused.opened, Reading((), None)
        (opened,) = examined
        return opened, self._reading_of(outputs, opened)

    async def open(self, image: bytes) -> Opened:
        """See `Classifier`."""
        return await self._decoder.apply(self._judged, image, target_px=self._target_px)

    def _judged(self, picture: Picture) -> Opened:
        gate = judge(picture)
        tensor = None
        covers = (0.0, 0.0, 1.0, 1.0)
        if gate.accepted:
            upright = np.ascontiguousarray(np.rot90(picture.pixels, gate.quarter_turns))
            tensor = self._preprocess(upright)[np.newaxis]
            covers = covered_part(self._preprocess, upright.shape[:2], gate.quarter_turns)
        return Opened(picture.format, picture.width_px, picture.height_px, gate, tensor, covers)

    async def read(self, opened: Opened) -> Reading:
        """Let the network look at what the gate has accepted."""
        if opened.tensor is None:
            raise ValueError("the gate refused this picture")
        return self._reading_of(await self._network.run(opened.tensor), opened)

    def _reading_of(self, outputs: Outputs, opened: Opened) -> Reading:
        manifest = self._network.manifest
        probability_of = probabilities(manifest, outputs[manifest.output.name][0])
        findings = findings_from(
            [probability_of[label] for label in Pathology], self._operating_points
        )
        stated = stated_maps(manifest, outputs)
        return Reading(findings, None if stated is None else self._kept(stated.maps, opened))

    async def explain(self, opened: Opened) -> ActivationMaps:
        """Where the network looks, for packages that do not state it: a hundred runs or more."""
        if opened.tensor is None:
            raise ValueError("the gate refused this picture")
        return self._kept(await occlusion_maps(self._network, opened.tensor), opened)

    def _kept(self, maps: NDArray[np.float32], opened: Opened) -> ActivationMaps:
        """The maps of the five findings, turned as the picture was uploaded."""
        kept = maps[self._places]
        if opened.gate.quarter_turns:
            kept = np.rot90(kept, -opened.gate.quarter_turns, axes=(1, 2))
        return to_activation_maps(kept, opened.covers_xyxy)


def covered_part(
    preprocess: Preprocess, upright_size_px: tuple[int, ...], quarter_turns: int
) -> tuple[float, float, float, float]:
    """Which part of a picture as uploaded the network's whole input shows.

    Args:
        preprocess: the network's.
        upright_size_px: height and width of the picture after turning.
        quarter_turns: how often it was turned left by 90 degrees.

    Returns:
        Left, top, right, bottom in fractions of the uploaded picture's width and height; below 0
        and above 1 where the input is padding.
    """
    height_px, width_px = upright_size_px
    framing = preprocess.framing(height_px, width_px)
    left, top, right, bottom = framing.source_xyxy_px
    x0, y0, x1, y1 = framing.target_xyxy_px
    x_scale, y_scale = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
    upright = (
        (left - x0 * x_scale) / width_px,
        (top - y0 * y_scale) / height_px,
        (right + (preprocess.width_px - x1) * x_scale) / width_px,
        (bottom + (preprocess.height_px - y1) * y_scale) / height_px,
    )
    for _ in range(quarter_turns % 4):
        # Undo one left turn: x of the turned picture runs along y, y against x.
        left, top, right, bottom = upright
        upright = (1 - bottom, left, 1 - top, right)
    return upright


def to_activation_maps(
    maps: NDArray[np.float32], covers_xyxy: tuple[float, float, float, float]
) -> ActivationMaps:
    """Maps as they are kept.

    Args:
        maps: `(5, h, w)` in CheXpert order, unbounded.
        covers_xyxy: the part of the picture that they cover.
    """
    rows, columns = maps.shape[1:]
    if max(rows, columns) > MAX_MAP_SIDE:
        step_down = [
            _averaged(plane, min(rows, MAX_MAP_SIDE), min(columns, MAX_MAP_SIDE)) for plane in maps
        ]
        maps = np.stack(step_down)
        rows, columns = maps.shape[1:]
    # Comparing with what is no number gives False.
    if not np.abs(maps).max(initial=0) <= _MOST_KEPT:
        maps = np.nan_to_num(maps, nan=0.0, posinf=_MOST_KEPT, neginf=-_MOST_KEPT)
        maps = maps.clip(-_MOST_KEPT, _MOST_KEPT)
    return ActivationMaps(rows, columns, covers_xyxy, maps.astype("<f2").tobytes())


def _averaged(plane: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The mean of each of `rows * columns` blocks."""
    blocks = [
        np.asarray(part.mean(axis=0), np.float32) for part in np.array_split(plane, rows, axis=0)
    ]
    squeezed = np.stack(blocks)
    parts = [part.mean(axis=1) for part in np.array_split(squeezed, columns, axis=1)]
    return np.stack(parts, axis=1).astype(np.float32)
