"""The evidence policy decides which models may answer."""

import pytest

from shared.inference import Evidence, EvidencePolicy, EvidenceRefused, enforce_evidence
from shared.inference.evidence import evidence_headers


@pytest.mark.parametrize(
    ("policy", "accepted"),
    [
        ("mark", {"validated", "research", "demo", "rules"}),
        ("refuse", {"validated", "research", "rules"}),
        ("require-validated", {"validated"}),
    ],
)
def test_a_policy_accepts_its_levels_and_no_other(
    policy: EvidencePolicy, accepted: set[str]
) -> None:
    for level in Evidence:
        if level in accepted:
            enforce_evidence(policy, level)
        else:
            with pytest.raises(EvidenceRefused) as refused:
                enforce_evidence(policy, level)
            assert refused.value.extensions == {"evidence": str(level), "policy": policy}
            assert (refused.value.status, refused.value.headers) == (409, {})


def test_old_wires_are_marked_by_headers() -> None:
    assert evidence_headers("net", "1.0", Evidence.DEMO) == {
        "Vedette-Model": "net@1.0",
        "Vedette-Evidence": "demo",
    }
