"""The whole evaluation as a value."""

import numpy as np
import pytest

from shared.evaluation.measure import NothingToMeasure
from shared.evaluation.ranking import area
from shared.evaluation.run import Case, Excluded
from tests.shared.evaluation.support import answered, measured, sample


def test_each_label_is_measured_by_its_own_column_and_point() -> None:
    evaluation = measured(sample())
    edema, effusion = evaluation.labels

    assert (edema.label, edema.n, edema.positives, edema.point.probability) == (
        "edema",
        60,
        20,
        0.5,
    )
    assert (effusion.positives, effusion.point.probability) == (15, 0.3)
    assert edema.area is not None
    assert edema.area.method == "delong"
    assert edema.fitted is not None
    assert edema.fitted.sensitivity.hits >= 18
    assert evaluation.mean_area is not None


def test_cases_of_unknown_truth_are_left_out_of_their_label_only() -> None:
    cases = [*sample(), answered("x", 0.9, {"edema": None, "pleural_effusion": True}, view="AP")]
    edema, effusion = measured(cases).labels

    assert (edema.n, edema.unknown) == (60, 1)
    assert (effusion.n, effusion.unknown) == (61, 0)


def of_patients(pictures_each: int) -> list[Case]:
    """Twenty patients; every other one has the finding."""
    return [
        answered(
            f"{patient}-{place}",
            (patient * 7 + place) % 10 / 10,
            {"edema": patient % 2 == 0},
            patient=f"p{patient}",
        )
        for patient in range(20)
        for place in range(pictures_each)
    ]


@pytest.mark.parametrize(("pictures_each", "method"), [(1, "delong"), (2, "bootstrap")])
def test_patients_who_repeat_are_resampled_whole(pictures_each: int, method: str) -> None:
    evaluation = measured(of_patients(pictures_each))
    found = evaluation.labels[0].area

    assert evaluation.dataset.patients == 20
    assert evaluation.dataset.patients_repeat is (pictures_each > 1)
    assert found is not None
    assert found.method == method


def test_groups_are_measured_on_their_own_cases() -> None:
    cases = sample()
    evaluation = measured(cases, by=("view",))
    inside = [case for case in cases if case.picture.groups["view"] == "AP"]
    target = np.array([bool(case.picture.truth["edema"]) for case in inside])
    score = np.array([case.probability_of["edema"] for case in inside])
    of_group = evaluation.groups[0]

    assert [(each.group, each.label) for each in evaluation.groups] == [
        ("AP", "edema"),
        ("AP", "pleural_effusion"),
        ("PA", "edema"),
        ("PA", "pleural_effusion"),
    ]
    assert of_group.n == 30
    assert of_group.area is not None
    assert of_group.area.value == pytest.approx(area(target, score))


def test_bands_of_numbers_come_in_their_order() -> None:
    ages = ("9 to 30", "31 to 60", "100 to 110", "unknown")
    cases = [answered(age, 0.5, {"edema": True}, age=age) for age in reversed(ages)]

    assert [each.group for each in measured(cases, by=("age",)).groups] == list(ages)


def test_a_label_of_one_class_has_no_curve_and_is_still_measured() -> None:
    evaluation = measured([answered(str(p), p / 10, {"edema": False}) for p in range(10)])
    only = evaluation.labels[0]

    assert (only.area, only.roc, only.average_precision, only.fitted) == (None, None, None, None)
    assert only.point.specificity.hits == 5
    assert only.brier == pytest.approx(np.mean([(p / 10) ** 2 for p in range(10)]))
    assert evaluation.mean_area is None


def test_labels_without_a_column_are_named() -> None:
    cases = [answered(str(p), p / 10, {"edema": p > 4}) for p in range(10)]

    assert measured(cases).without_column == ("pleural_effusion",)


def test_what_is_excluded_is_counted_by_kind() -> None:
    excluded = (Excluded("a", "refused", "colour"), Excluded("b", "missing", "gone"))
    evaluation = measured(sample(), excluded=(*excluded, Excluded("c", "refused", "aspect")))

    assert evaluation.dataset.excluded == {"missing": 1, "refused": 2}


def test_nothing_known_is_nothing_to_measure() -> None:
    with pytest.raises(NothingToMeasure):
        measured([answered("a", 0.5, {"edema": None})])
    with pytest.raises(NothingToMeasure):
        measured([])
