"""What this installation does with answers of each evidence level."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.netra.job import AnalysisJob
from shared.inference import Evidence, EvidencePolicy, EvidenceRefused, enforce_evidence

#: What is trusted most comes first; rules are exactly what they say.
_ORDER = (Evidence.VALIDATED, Evidence.RULES, Evidence.RESEARCH, Evidence.DEMO)


def weakest(levels: Iterable[str]) -> str | None:
    """The level that several answers have together; None where there is none."""
    known = [Evidence(level) for level in levels]
    return str(max(known, key=_ORDER.index)) if known else None


@dataclass(frozen=True, slots=True)
class EvidenceGuard:
    """Keeps answers back that the evidence policy does not let out."""

    policy: EvidencePolicy
    level: str
    """The weakest level among what answers in this process."""

    def check_upload(self) -> None:
        """Refuse a photograph whose answer would be kept back; raises `EvidenceRefused`."""
        enforce_evidence(self.policy, Evidence(self.level))

    def check(self, job: AnalysisJob) -> None:
        """Refuse to tell what was found; raises `EvidenceRefused`."""
        if job.found is not None:
            enforce_evidence(self.policy, Evidence(job.found.evidence))

    def withholds(self, job: AnalysisJob) -> bool:
        """Whether what was found is kept back."""
        try:
            self.check(job)
        except EvidenceRefused:
            return True
        return False
