"""One photograph in, one analysis out: gate, quality, lesions, verdict, and whether they agree."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from services.netra.analysis import gate, quality
from services.netra.analysis.appearance import Appearance, measure
from services.netra.analysis.field import find_field
from services.netra.analysis.lesion_features import lesion_features
from services.netra.analysis.lesions import LesionFinder
from services.netra.analysis.retinopathy import Retinopathy, load_retinopathy
from services.netra.domain import (
    AbstainReason,
    Analysis,
    FundusVerdict,
    Lesion,
    ModelIdentity,
    QualityVerdict,
    Verdict,
)
from services.netra.outlines import Outlines
from shared.imaging import Picture
from shared.inference import Engine, Evidence, load_package
from shared.inference.package import read_manifest

MODELS: Final = Path(__file__).parent.parent / "models"
LESION_PACKAGES: Final = ("netra-lesions-a", "netra-lesions-b")
RETINOPATHY_FILE: Final = "netra-retinopathy/retinopathy.json"
RULES_VERSION: Final = "1.0"

#: So many lesions this sure beside a verdict of a healthy picture are a contradiction.
SURE_LESION = 0.75
SURE_LESIONS = 3

#: Below this score a reader should know how near to ungradable a photograph was.
_BARELY_GRADABLE = 0.6
#: What weakens an answer most comes last; rules are exactly what they say.
_WEAKER = (Evidence.VALIDATED, Evidence.RULES, Evidence.RESEARCH, Evidence.DEMO)


class Analyser:
    """Looks at photographs; synchronous, callable from several threads at once."""

    def __init__(self, finder: LesionFinder, retinopathy: Retinopathy, sha256: str) -> None:
        """Take the loaded networks and the verdict that was fitted to them.

        Raises:
            ValueError: the verdict was fitted to other networks.
        """
        fitted_to = sorted(retinopathy.of.values())
        given = sorted(network.manifest.sha256 for network in finder.networks)
        if fitted_to != given:
            raise ValueError("the verdict was fitted to other lesion networks than are loaded")
        self._finder = finder
        self._retinopathy = retinopathy
        self._rules = (_rules_identity("gate"), _rules_identity("quality"))
        self._models = (
            *self._rules,
            *(
                ModelIdentity(
                    id=network.manifest.id,
                    version=network.manifest.version,
                    sha256=network.manifest.sha256,
                    evidence=str(network.manifest.evidence),
                    calibrated=False,
                    task="lesions",
                )
                for network in finder.networks
            ),
            ModelIdentity(
                id=retinopathy.id,
                version=retinopathy.version,
                sha256=sha256,
                evidence=str(retinopathy.evidence),
                calibrated=True,
                task="retinopathy",
            ),
        )

    @property
    def models(self) -> tuple[ModelIdentity, ...]:
        """The rules and networks that take part."""
        return self._models

    @property
    def operating_points(self) -> Mapping[str, float]:
        """The probability from which each verdict says yes."""
        return {
            "retinopathy": self._retinopathy.retinopathy.operating_point,
            "referable": self._retinopathy.referable.operating_point,
        }

    @property
    def evidence(self) -> Evidence:
        """The weakest evidence level of what answers."""
        return _weakest(self._models)

    def analyse(self, picture: Picture) -> Analysis:
        """What is to be seen on an upright photograph."""
        pixels = picture.to_rgb()
        seen = measure(pixels, picture.width_px)
        fundus = gate.judge_fundus(seen, picture.width_px, picture.height_px)
        if not fundus.accepted or seen is None:
            nothing = QualityVerdict(False, 0.0)
            return self._refused(fundus, nothing, AbstainReason.NOT_A_FUNDUS)
        judged = quality.judge_quality(seen)
        if not judged.gradable:
            return self._refused(fundus, judged, AbstainReason.UNGRADABLE)
        return self._graded(picture, seen, fundus, judged)

    def outline(self, picture: Picture) -> Outlines | None:
        """Where lesions are, gradable or not; None where the picture has no field of view."""
        field = find_field(picture.to_rgb())
        if field is None:
            return None
        maps = self._finder.look(picture.to_rgb(), field)
        lesions, _ = self._finder.outline(maps, picture.width_px, picture.height_px)
        return Outlines(maps.over_picture(picture.height_px, picture.width_px), lesions)

    def _graded(
        self, picture: Picture, seen: Appearance, fundus: FundusVerdict, judged: QualityVerdict
    ) -> Analysis:
        maps = self._finder.look(picture.to_rgb(), seen.field)
        lesions, masks = self._finder.outline(maps, picture.width_px, picture.height_px)
        features = np.stack([lesion_features(probability) for probability in maps.of_each])
        retinopathy, unsure = self._retinopathy.retinopathy.ask(features)
        referable, unsure_of_referral = self._retinopathy.referable.ask(features)
        reasons = disagreements(retinopathy, referable, lesions)
        if unsure:
            reasons = (AbstainReason.UNCERTAIN, *reasons)
        if reasons:
            # The probabilities stay, so that whoever decides sees how near it was.
            retinopathy, referable = (
                replace(verdict, detected=None) for verdict in (retinopathy, referable)
            )
        elif unsure_of_referral:
            referable = replace(referable, detected=None)
        faint = 0
        if retinopathy.detected is False:
            everything = len(lesions)
            lesions, masks = self._finder.outline(
                maps, picture.width_px, picture.height_px, least_score=SURE_LESION
            )
            faint = everything - len(lesions)
        return Analysis(
            fundus=fundus,
            quality=judged,
            retinopathy=retinopathy,
            referable=referable,
            lesions=lesions,
            masks=masks,
            abstained=bool(reasons),
            reasons=reasons,
            models=self._models,
            evidence=str(self.evidence),
            notes=tuple(_notes(picture, retinopathy, referable, len(lesions), faint, judged)),
        )

    def _refused(
        self, fundus: FundusVerdict, judged: QualityVerdict, reason: AbstainReason
    ) -> Analysis:
        return Analysis(
            fundus=fundus,
            quality=judged,
            retinopathy=Verdict(),
            referable=Verdict(),
            lesions=(),
            masks={},
            abstained=True,
            reasons=(reason,),
            models=self._rules,
            evidence=str(_weakest(self._rules)),
        )


def disagreements(
    retinopathy: Verdict, referable: Verdict, lesions: Sequence[Lesion]
) -> tuple[AbstainReason, ...]:
    """How the verdicts and the lesions contradict each other."""
    sure = sum(lesion.score >= SURE_LESION for lesion in lesions)
    found = []
    if not retinopathy.detected and sure >= SURE_LESIONS:
        found.append(AbstainReason.LESIONS_WITHOUT_RETINOPATHY)
    if retinopathy.detected and not lesions:
        found.append(AbstainReason.RETINOPATHY_WITHOUT_LESIONS)
    if referable.detected and not retinopathy.detected:
        found.append(AbstainReason.REFERABLE_WITHOUT_RETINOPATHY)
    return tuple(found)


def create_analyser(
    engine: Engine, models: Path = MODELS, packages: Sequence[str] = LESION_PACKAGES
) -> Analyser:
    """Verify and load what this repository ships.

    Args:
        engine: where the networks run.
        models: the folder of the packages and of the verdict.
        packages: the lesion networks whose maps are averaged.

    Raises:
        PackageRefused: a package is not what its manifest says.
        ValueError: the verdict was fitted to other networks.
    """
    finder = LesionFinder([engine.load(load_package(models / name)) for name in packages])
    return Analyser(finder, *load_retinopathy(models / RETINOPATHY_FILE))


def stated_evidence(models: Path = MODELS, packages: Sequence[str] = LESION_PACKAGES) -> Evidence:
    """The weakest evidence level of what `create_analyser` loads, which is not loaded for it.

    Raises:
        PackageRefused: a manifest is missing or wrong.
        ValueError: the verdict is not what this module understands.
    """
    retinopathy, _ = load_retinopathy(models / RETINOPATHY_FILE)
    stated = [read_manifest(models / name).evidence for name in packages]
    return max((Evidence.RULES, *stated, retinopathy.evidence), key=_WEAKER.index)


def _notes(
    picture: Picture,
    retinopathy: Verdict,
    referable: Verdict,
    outlined: int,
    faint: int,
    judged: QualityVerdict,
) -> list[str]:
    notes = list(picture.notes)
    if retinopathy.detected is False and outlined:
        notes.append(
            f"Lesions outlined: {outlined}; too few to call the photograph diseased, so a person "
            "should look at them."
        )
    if faint:
        notes.append(
            f"Faint spots left out, because the whole photograph shows no retinopathy: {faint}."
        )
    if retinopathy.detected is not None and referable.detected is None:
        notes.append("Whether to refer is too near to the operating point to say.")
    if judged.score < _BARELY_GRADABLE:
        notes.append(f"The photograph is barely gradable: quality {judged.score:.2f} of 1.")
    return notes


def _rules_identity(task: str) -> ModelIdentity:
    """Rules are their source, whose hash says which they were."""
    return ModelIdentity(
        id=f"netra-{task}-rules",
        version=RULES_VERSION,
        sha256=rules_sha256(task),
        evidence=str(Evidence.RULES),
        calibrated=False,
        task=task,
    )


def rules_sha256(task: str) -> str:
    """The hash of the modules that hold the rules of `gate` or `quality`."""
    names = (f"{task}.py", "appearance.py", "vessels.py", "field.py")
    content = b"".join((Path(__file__).parent / name).read_bytes() for name in names)
    return hashlib.sha256(content).hexdigest()


def _weakest(models: Sequence[ModelIdentity]) -> Evidence:
    return max((Evidence(model.evidence) for model in models), key=_WEAKER.index)
