"""Where microaneurysms, haemorrhages and exudates are: networks in, boxes and masks out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.netra.analysis.field import Field, at_scale, levelled
from services.netra.analysis.tiles import look_through
from services.netra.domain import Lesion, LesionMask, LesionType
from services.netra.masks import to_mask
from shared.inference import Network

#: The diameter that the field of view is brought to; the networks were trained at it.
DIAMETER_PX = 1280
#: The longer side of a mask over the whole picture.
MASK_SIDE_PX = 1072
#: Smaller spots, in pixels at `DIAMETER_PX`, are not told from noise.
MIN_AREA_PX = {
    LesionType.MICROANEURYSM: 8,
    LesionType.HAEMORRHAGE: 24,
    LesionType.HARD_EXUDATE: 8,
    LesionType.SOFT_EXUDATE: 60,
}
#: A spot is a lesion only if its brightest point is this much surer than its rim.
PEAK_OVER_RIM = 1.25
#: Most boxes per type, the surest first; a retina with more has so many that none counts.
MAX_LESIONS = 250


@dataclass(frozen=True, slots=True)
class LesionMaps:
    """What the networks think of every place of the field of view."""

    probability: NDArray[np.float32]
    """`(4, h, w)` in the order of `LesionType`, over the field's box at `DIAMETER_PX`."""
    field: Field
    """In pixels of the picture that was looked at."""
    picture_size_px: tuple[int, int]
    """Height and width of that picture."""
    of_each: tuple[NDArray[np.float32], ...] = ()
    """The same of each network, whose mean `probability` is."""

    def over_picture(self, height_px: int, width_px: int) -> NDArray[np.float32]:
        """The maps laid over a whole picture of another size, `(4, height, width)`."""
        down, across = height_px / self.picture_size_px[0], width_px / self.picture_size_px[1]
        x0, x1 = round(self.field.x0 * across), round(self.field.x1 * across)
        y0, y1 = round(self.field.y0 * down), round(self.field.y1 * down)
        laid = np.zeros((len(self.probability), height_px, width_px), np.float32)
        if x1 > x0 and y1 > y0:
            for plane, source in zip(laid, self.probability, strict=True):
                way = cv2.INTER_AREA if x1 - x0 < source.shape[1] else cv2.INTER_LINEAR
                plane[y0:y1, x0:x1] = cv2.resize(source, (x1 - x0, y1 - y0), interpolation=way)
        return laid


class LesionFinder:
    """Runs the lesion networks and averages what they say; callable from several threads."""

    def __init__(self, networks: Sequence[Network]) -> None:
        """Take the networks, and their operating points averaged.

        Raises:
            ValueError: there is none, or one names other lesions.
        """
        if not networks:
            raise ValueError("no lesion network is given")
        names = tuple(lesion.value for lesion in LesionType)
        for network in networks:
            if network.manifest.labels != names:
                raise ValueError(f"{network.name} does not outline {', '.join(names)}")
        self.networks = tuple(networks)
        self.operating_points: Mapping[LesionType, float] = {
            lesion: float(np.mean([n.manifest.operating_points.get(lesion, 0.5) for n in networks]))
            for lesion in LesionType
        }

    def look(self, pixels: NDArray[np.uint8], field: Field) -> LesionMaps:
        """Map the lesions of a photograph.

        Args:
            pixels: `(H, W, 3)` RGB.
            field: its field of view.
        """
        cut = levelled(at_scale(pixels, field, DIAMETER_PX))
        tensor = np.moveaxis(cut.astype(np.float32) / 127.5 - 1.0, -1, 0)
        maps = [self._run(network, tensor) for network in self.networks]
        height_px, width_px = pixels.shape[:2]
        return LesionMaps(np.mean(maps, axis=0), field, (height_px, width_px), tuple(maps))

    @staticmethod
    def _run(network: Network, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        name = network.manifest.output.name

        def look(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            logits = network.run_now(batch)[name]
            return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)

        return look_through(tensor, network.manifest.input.size, look)

    def outline(
        self, maps: LesionMaps, width_px: int, height_px: int, least_score: float = 0.0
    ) -> tuple[tuple[Lesion, ...], dict[LesionType, LesionMask]]:
        """Turn maps into boxes and masks.

        Args:
            maps: from `look`.
            width_px: of the picture as uploaded.
            height_px: of the picture as uploaded.
            least_score: of a lesion that is kept.
        """
        lesions: list[Lesion] = []
        kept = np.zeros_like(maps.probability)
        for i, lesion in enumerate(LesionType):
            found, mask = self._spots(maps.probability[i], lesion, least_score)
            kept[i] = mask
            lesions += [to_picture(spot, maps, width_px, height_px) for spot in found]
        factor = min(1.0, MASK_SIDE_PX / max(width_px, height_px))
        size = max(1, round(height_px * factor)), max(1, round(width_px * factor))
        laid = LesionMaps(kept, maps.field, maps.picture_size_px).over_picture(*size)
        masks = {
            lesion: to_mask(laid[i] >= 0.5)
            for i, lesion in enumerate(LesionType)
            if (laid[i] >= 0.5).any()
        }
        return tuple(lesions), masks

    def _spots(
        self, probability: NDArray[np.float32], lesion: LesionType, least_score: float
    ) -> tuple[list[Lesion], NDArray[np.float32]]:
        """Connected places above the operating point, in pixels of the map, surest first."""
        point = self.operating_points[lesion]
        above = (probability >= point).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
        found: list[tuple[float, Lesion, int]] = []
        for i in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[i])
            if area < MIN_AREA_PX[lesion]:
                continue
            part = probability[y : y + h, x : x + w][labels[y : y + h, x : x + w] == i]
            if part.max() < min(point * PEAK_OVER_RIM, 0.95):
                continue
            score = round(float(part.mean()), 4)
            if score < least_score:
                continue
            found.append((score, Lesion(lesion, (x, y, x + w, y + h), score), i))
        found.sort(key=lambda entry: -entry[0])
        kept = np.isin(labels, [i for _, _, i in found]).astype(np.float32)
        return [spot for _, spot, _ in found[:MAX_LESIONS]], kept


def to_picture(spot: Lesion, maps: LesionMaps, width_px: int, height_px: int) -> Lesion:
    """Move a box from pixels of the maps to pixels of the picture as uploaded."""
    rows, columns = maps.probability.shape[1:]
    across = width_px / maps.picture_size_px[1]
    down = height_px / maps.picture_size_px[0]
    field = maps.field
    x0, y0, x1, y1 = spot.box_xyxy_px
    scale_x = (field.x1 - field.x0) / columns
    scale_y = (field.y1 - field.y0) / rows
    left = int((field.x0 + x0 * scale_x) * across)
    top = int((field.y0 + y0 * scale_y) * down)
    right = int(np.ceil((field.x0 + x1 * scale_x) * across))
    bottom = int(np.ceil((field.y0 + y1 * scale_y) * down))
    box = (left, top, min(max(right, left + 1), width_px), min(max(bottom, top + 1), height_px))
    return Lesion(spot.type, box, spot.score)
