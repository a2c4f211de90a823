"""The verdicts on a whole photograph: logistic regressions on what the lesion maps show."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from services.netra.analysis.lesion_features import FEATURE_NAMES
from services.netra.domain import Verdict
from shared.inference import Evidence

Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Question(BaseModel):
    """One verdict: its weights, and where it says yes, no or nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Mapping[str, Finite]
    bias: Finite
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    operating_point: Fraction
    uncertain: tuple[Fraction, Fraction]
    measured: Mapping[str, float | tuple[float, float]]

    def ask(self, features: NDArray[np.float64]) -> tuple[Verdict, bool]:
        """Answer for one photograph.

        Args:
            features: from `lesion_features`, `(networks, d)`: one row for the maps of each; their
                logits are averaged, because the fit was made on maps of single networks.

        Returns:
            The verdict, and whether the probability is too near to the operating point for it.
        """
        weights = np.array([self.weights[name] for name in FEATURE_NAMES])
        logit = (float((features @ weights).mean()) + self.bias) / self.temperature
        probability = float(1.0 / (1.0 + np.exp(-np.clip(logit, -60, 60))))
        low, high = self.uncertain
        verdict = Verdict(
            round(probability, 4), probability >= self.operating_point, self.operating_point
        )
        return verdict, low <= probability < high


class Retinopathy(BaseModel):
    """What `retinopathy.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    version: str
    evidence: Evidence
    of: Mapping[str, str]
    """The lesion networks whose maps it was fitted to: sha256 by package."""
    task: Literal["retinopathy"] = "retinopathy"
    retinopathy: Question
    referable: Question


def load_retinopathy(path: Path) -> tuple[Retinopathy, str]:
    """Read `retinopathy.json`; also its sha256.

    Raises:
        ValueError: it is not what this module understands.
    """
    content = path.read_bytes()
    read = Retinopathy.model_validate_json(content)
    for question in (read.retinopathy, read.referable):
        if set(question.weights) != set(FEATURE_NAMES):
            raise ValueError(f"{path.name} weighs other features than are measured")
    return read, hashlib.sha256(content).hexdigest()
