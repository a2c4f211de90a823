"""Lesions and verdicts that contradict each other are said, never passed over."""

from services.netra.analysis.analyser import SURE_LESIONS, disagreements
from services.netra.domain import AbstainReason, Lesion, LesionType, Verdict

YES, NO = Verdict(0.9, True, 0.4), Verdict(0.1, False, 0.4)
SURE = Lesion(LesionType.HAEMORRHAGE, (0, 0, 9, 9), 0.92)
FAINT = Lesion(LesionType.MICROANEURYSM, (0, 0, 5, 5), 0.4)


def test_agreeing_answers_are_left_alone() -> None:
    """Disease with lesions, and health without, are what screening is made of."""
    assert disagreements(YES, YES, [SURE]) == ()
    assert disagreements(YES, NO, [FAINT]) == ()
    assert disagreements(NO, NO, []) == ()


def test_sure_lesions_beside_a_healthy_verdict_are_a_contradiction() -> None:
    """Faint spots are not: every network outlines a few."""
    assert disagreements(NO, NO, [SURE] * SURE_LESIONS) == (
        AbstainReason.LESIONS_WITHOUT_RETINOPATHY,
    )
    assert disagreements(NO, NO, [FAINT] * 9) == ()


def test_disease_without_any_lesion_is_a_contradiction() -> None:
    """The verdict would point at nothing."""
    assert disagreements(YES, NO, []) == (AbstainReason.RETINOPATHY_WITHOUT_LESIONS,)


def test_referral_of_a_healthy_eye_is_a_contradiction() -> None:
    """Referable retinopathy is retinopathy."""
    assert disagreements(NO, YES, []) == (AbstainReason.REFERABLE_WITHOUT_RETINOPATHY,)
