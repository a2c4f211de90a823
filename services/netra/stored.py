"""What was found on a photograph, between the domain and the JSON that is kept in its row."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from services.netra.domain import (
    AbstainReason,
    Analysis,
    FundusReason,
    FundusVerdict,
    Lesion,
    LesionMask,
    LesionType,
    ModelIdentity,
    QualityReason,
    QualityVerdict,
    Verdict,
)
from services.netra.job import Decision


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Everything but the masks, which are large and rarely wanted."""
    return {
        "fundus": {
            "accepted": analysis.fundus.accepted,
            "score": analysis.fundus.score,
            "reasons": list(analysis.fundus.reasons),
        },
        "quality": {
            "gradable": analysis.quality.gradable,
            "score": analysis.quality.score,
            "reasons": list(analysis.quality.reasons),
        },
        "retinopathy": _from_verdict(analysis.retinopathy),
        "referable": _from_verdict(analysis.referable),
        "lesions": [
            [lesion.type, *lesion.box_xyxy_px, lesion.score] for lesion in analysis.lesions
        ],
        "abstained": analysis.abstained,
        "reasons": list(analysis.reasons),
        "models": [
            {
                "id": model.id,
                "version": model.version,
                "sha256": model.sha256,
                "evidence": model.evidence,
                "calibrated": model.calibrated,
                "task": model.task,
            }
            for model in analysis.models
        ],
        "evidence": analysis.evidence,
        "notes": list(analysis.notes),
    }


def from_json(kept: Mapping[str, Any], masks: Mapping[LesionType, LesionMask]) -> Analysis:
    """What `to_json` wrote, with the masks that were kept apart."""
    fundus, quality = kept["fundus"], kept["quality"]
    return Analysis(
        fundus=FundusVerdict(
            fundus["accepted"],
            fundus["score"],
            tuple(FundusReason(reason) for reason in fundus["reasons"]),
        ),
        quality=QualityVerdict(
            quality["gradable"],
            quality["score"],
            tuple(QualityReason(reason) for reason in quality["reasons"]),
        ),
        retinopathy=Verdict(**kept["retinopathy"]),
        referable=Verdict(**kept["referable"]),
        lesions=tuple(
            Lesion(LesionType(kind), (left, top, right, bottom), score)
            for kind, left, top, right, bottom, score in kept["lesions"]
        ),
        masks=masks,
        abstained=kept["abstained"],
        reasons=tuple(AbstainReason(reason) for reason in kept["reasons"]),
        models=tuple(ModelIdentity(**model) for model in kept["models"]),
        evidence=kept["evidence"],
        notes=tuple(kept["notes"]),
    )


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """A person's decision."""
    return {
        "retinopathy": decision.retinopathy,
        "referable": decision.referable,
        "note": decision.note,
        "decided_by": str(decision.decided_by),
        "decided_at": decision.decided_at.isoformat(),
    }


def decision_from_json(kept: Mapping[str, Any]) -> Decision:
    """What `decision_to_json` wrote."""
    return Decision(
        retinopathy=kept["retinopathy"],
        referable=kept["referable"],
        note=kept["note"],
        decided_by=UUID(kept["decided_by"]),
        decided_at=datetime.fromisoformat(kept["decided_at"]),
    )


def _from_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "probability": verdict.probability,
        "detected": verdict.detected,
        "operating_point": verdict.operating_point,
    }
