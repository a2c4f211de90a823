"""Lets `vedette evaluate chexray` read radiographs as the service does, without HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from services.chexray.app import SHIPPED_PACKAGE
from services.chexray.domain import Pathology
from services.chexray.inference import NetworkClassifier
from services.chexray.settings import Settings
from shared.evaluation.source import EvaluatedModel, Evaluator, PictureRefused
from shared.imaging import Limits, ThreadDecoder
from shared.inference import Engine, Network, load_package, resolve_package
from shared.inference.devices import usable_cores

#: What columns of public and clinical tables call the findings.
ALIASES: Mapping[str, str] = {
    "effusion": Pathology.PLEURAL_EFFUSION,
    "pleural_effusions": Pathology.PLEURAL_EFFUSION,
    "oedema": Pathology.EDEMA,
    "pulmonary_edema": Pathology.EDEMA,
    "pulmonary_oedema": Pathology.EDEMA,
    "lung_edema": Pathology.EDEMA,
    "enlarged_heart": Pathology.CARDIOMEGALY,
    "atelectases": Pathology.ATELECTASIS,
    "consolidations": Pathology.CONSOLIDATION,
}


class RadiographEvaluator:
    """See `Evaluator`: decode, gate, network and calibration of the service."""

    def __init__(self, network: Network, limits: Limits, at_once: int) -> None:
        manifest = network.manifest
        self._classifier = NetworkClassifier(network, ThreadDecoder(at_once, limits))
        self.at_once = at_once
        self.aliases = ALIASES
        self.model = EvaluatedModel(
            manifest.id,
            manifest.version,
            manifest.sha256,
            str(manifest.evidence),
            manifest.calibration is not None,
        )
        self.operating_points = {
            str(label): manifest.operating_points.get(label, 0.5) for label in Pathology
        }

    async def probabilities(self, image: bytes) -> Mapping[str, float]:
        """See `Evaluator`."""
        opened = await self._classifier.open(image)
        if not opened.gate.accepted:
            raise PictureRefused(tuple(str(reason) for reason in opened.gate.reasons))
        reading = await self._classifier.read(opened)
        return {str(finding.label): finding.probability for finding in reading.findings}


@contextmanager
def open_evaluator(model: str | None) -> Iterator[Evaluator]:
    """The pipeline with the package that the service runs, or with an installed one.

    The evidence policy is not asked: an evaluation is how a package earns a better level.

    Raises:
        PackageNotFound: `model` is neither installed nor shipped.
        PackageRefused: the package does not verify.
    """
    settings = Settings()
    folder = resolve_package(settings.home, SHIPPED_PACKAGE, model or settings.chexray_model)
    with Engine(settings.device, settings.threads) as engine:
        network = engine.load(load_package(folder))
        limits = Limits(max_bytes=settings.chexray_max_upload_bytes)
        yield RadiographEvaluator(network, limits, (settings.threads or usable_cores()) + 1)
