"""How far an answer can be trusted, and the one place that enforces it.

Every model package states an evidence level; `VEDETTE_EVIDENCE` says which levels may answer.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from shared.problems import Problem

EvidencePolicy = Literal["mark", "refuse", "require-validated"]

MODEL_HEADER = "Vedette-Model"
EVIDENCE_HEADER = "Vedette-Evidence"


class Evidence(StrEnum):
    """What is known about the accuracy of what answers."""

    VALIDATED = "validated"
    """Measured on data that represents its use; the card holds the figures."""
    RESEARCH = "research"
    """Published figures, not measured where it is used."""
    DEMO = "demo"
    """Shows that the chain works; its answers carry no weight."""
    RULES = "rules"
    """Not learned: stated formulas and thresholds."""


_REFUSED: Final[Mapping[EvidencePolicy, frozenset[Evidence]]] = {
    "mark": frozenset(),
    "refuse": frozenset({Evidence.DEMO}),
    "require-validated": frozenset(Evidence) - {Evidence.VALIDATED},
}


class EvidenceRefused(Problem):
    """The evidence policy of this installation does not let this model answer."""

    status, slug, title = 409, "evidence-refused", "Model refused by the evidence policy"


def enforce_evidence(policy: EvidencePolicy, level: Evidence) -> None:
    """Let a model of `level` answer under `policy`, or refuse.

    `mark` lets everything answer, marked; `refuse` stops demo-grade models;
    `require-validated` accepts nothing but validated ones.

    Raises:
        EvidenceRefused: the policy does not accept `level`.
    """
    if level in _REFUSED[policy]:
        raise EvidenceRefused(
            f"This installation does not give answers of {level}-grade models "
            f"(VEDETTE_EVIDENCE={policy}).",
            evidence=str(level),
            policy=policy,
        )


def evidence_headers(model_id: str, version: str, level: Evidence) -> dict[str, str]:
    """The response headers that mark an answer on wires whose bodies are fixed."""
    return {MODEL_HEADER: f"{model_id}@{version}", EVIDENCE_HEADER: str(level)}
