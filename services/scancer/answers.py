"""From what the service found to what the modern API says."""

from services.scancer.catalogue import Version
from services.scancer.prediction import Predicted, Prediction
from services.scancer.schemas import (
    GateOut,
    MeasuredOut,
    ModelOut,
    PredictionOut,
    PredictionsOut,
    ServedModelOut,
    VersionOut,
)
from shared.inference import Manifest


def to_model(manifest: Manifest) -> ModelOut:
    """Which network it is."""
    return ModelOut(id=manifest.id, version=manifest.version, sha256=manifest.sha256)


def to_prediction(manifest: Manifest, prediction: Prediction) -> PredictionOut:
    """One prediction."""
    gate = prediction.gate
    return PredictionOut(
        label=prediction.label,
        label_name=prediction.label_name,
        probability=prediction.probability,
        probabilities=prediction.probabilities,
        found=prediction.found,
        values=prediction.values,
        gate=None if gate is None else GateOut(accepted=gate.accepted, reasons=[*gate.reasons]),
        model=to_model(manifest),
        evidence=str(manifest.evidence),
        calibrated=manifest.calibration is not None,
    )


def to_predictions(predicted: Predicted) -> PredictionsOut:
    """All predictions of one request."""
    return PredictionsOut(
        predictions=[to_prediction(predicted.manifest, each) for each in predicted.predictions]
    )


def to_served_model(name: str, versions: list[Version]) -> ServedModelOut:
    """A model with those of its versions whose package is at hand."""
    default = next(
        (each.registration.version for each in versions if each.registration.is_default), ""
    )
    return ServedModelOut(
        name=name,
        default_version=default,
        versions=[
            _to_version(each, each.package.manifest)
            for each in versions
            if each.package is not None
        ],
    )


def _to_version(version: Version, manifest: Manifest) -> VersionOut:
    status = "ready"
    if version.failure is not None:
        status = "failed"
    elif version.served is None:
        status = "no-workers"
    return VersionOut(
        version=version.registration.version,
        is_default=version.registration.is_default,
        workers=version.workers,
        status=status,
        model=to_model(manifest),
        task=manifest.task,
        labels=[*manifest.labels],
        evidence=str(manifest.evidence),
        licence=manifest.licence,
        input_size_px=manifest.input.size,
        measured=[
            MeasuredOut(
                dataset=each.dataset,
                split=each.split,
                n=each.n,
                metric=each.metric,
                value=each.value,
                interval=each.interval,
                label=each.label,
            )
            for each in manifest.card.measured
        ],
        intended_use=manifest.card.intended_use,
        limits=manifest.card.limits,
        registered_at=version.registration.registered_at,
    )
