"""The cards: what a person should know before trusting a network."""

from collections.abc import Mapping
from typing import Any

from services.netra.training.segmenter import LESIONS

DATASET = "IDRiD training split (Porwal et al., 2018)"
INTENDED_USE = (
    "Outlines microaneurysms, haemorrhages, hard and soft exudates in colour fundus photographs "
    "of 45 to 50 degrees for screening research; a person decides. Not for diagnosis."
)
LIMITS = (
    "One camera (Kowa VX-10 alpha), one clinic in India, 54 outlined photographs, all of them with "
    "retinopathy. Other cameras, ages and populations are not measured. IDRiD does not say which "
    "photographs show one patient, so a held-out photograph may have a fellow eye in training."
)
TARGETS = {
    "microaneurysm": (0.35, 0.50),
    "haemorrhage": (0.50, 0.68),
    "hard_exudate": (0.75, 0.885),
    "soft_exudate": (0.50, 0.70),
}

_LESIONS = """# {name} 1.0

Outlines four lesions of diabetic retinopathy in a window of a fundus photograph. One of two
networks of the same shape whose maps netra averages; they differ in the photographs they saw.

- Evidence: `research`: measured by holding photographs out of one data set, on no other.
- Licence: CC BY 4.0, as the data. Start: ImageNet MobileNetV2 (google-coral/test_data, Apache-2.0).
- Size: 0.56 million weights, 2.3 MB, 32-bit.
- Trained by `services/netra/training`, whose README has the commands.

## Input and output

`image` `(N, 3, 576, 672)`: a window of the field of view, brought to a diameter of 1280 px and
levelled (`analysis/field.py`), in [-1, 1]. `logits` `(N, 4, 576, 672)`: microaneurysm,
haemorrhage, hard exudate, soft exudate. They are not calibrated.

## Data

IDRiD's 54 outlined training photographs (Porwal et al., 2018, CC BY 4.0), less the {held_out}
whose number leaves {fold} when divided by 5. The official test split was not used at all.

## Measured

Area under precision against recall over all pixels of the held-out photographs at 4288 x 2848 px;
each photograph by the network that did not see it ({count} photographs in all, one network each;
the average of both, which the service uses, cannot be measured on them). Intervals of 95 % from
resampling photographs. Command: `python -m services.netra.training.evaluate_lesions`.

| lesion | photographs with it | area | this network | goal | best published |
|---|---|---|---|---|---|
{rows}

Operating points, where precision and recall balance on the same pixels:

| lesion | probability | precision | recall |
|---|---|---|---|
{points}

The best published figures are those of the IDRiD challenge's winners on its test split.

## Limits

{limits}
"""

_GRADING = """# netra-retinopathy 1.0

Says whether a fundus photograph shows any diabetic retinopathy (ICDR grade 1 or more) and whether
the patient is to be referred (grade 2 or more): two logistic regressions on {features} figures of
the lesion maps that netra-lesions-a and netra-lesions-b give.

- Evidence: `research`: cross-validated on one data set, measured on no other.
- Licence: CC BY 4.0, as the data.

## Data

The graded photographs of IDRiD's training split, 960 px wide, less {left_out} that both lesion
networks learned from; {photographs} remain. Each is looked at by one network, an outlined one by
that which did not learn from it, the others by both in turn. The service averages the logits that
the maps of both give.

## Measured

Ten parts, five times over, each photograph judged by fits that did not see it; temperature,
operating point and uncertain zone chosen inside the training parts. Intervals of 95 % from
resampling photographs. Command: `python -m services.netra.training.train_grading`.

| question | positives | AUC | sens. | spec. | no answer | sens.* | spec.* | ECE |
|---|---|---|---|---|---|---|---|---|
{rows}

Sensitivity and specificity (sens., spec.) are at the operating point, counting photographs in the
uncertain zone too; those with a star are of the photographs outside of it. ECE: expected
calibration error over ten bins of equal width.

| question | operating point | uncertain from | to | temperature |
|---|---|---|---|---|
{points}

## Limits

{limits} Grades are of one reading; the photographs were chosen, so the shares of grades are not
those of a screening programme and neither are predictive values.
"""


def lesion_card(name: str, fold: int, report: Mapping[str, Any]) -> str:
    """The card of one lesion network."""
    rows, points = [], []
    for lesion in LESIONS:
        of = report[lesion]
        low, high = of["interval"]
        goal, best = TARGETS[lesion]
        words = lesion.replace("_", " ")
        rows.append(
            f"| {words} | {of['photographs_with_it']} | {of['aupr']:.3f} ({low:.3f} to "
            f"{high:.3f}) | {of['aupr_by_fold'][str(fold)]:.3f} | {goal:.2f} | {best:.3g} |"
        )
        point, precision, recall = (of[n] for n in ("operating_point", "precision", "recall"))
        points.append(f"| {words} | {point:.3f} | {precision:.2f} | {recall:.2f} |")
    return _LESIONS.format(
        name=name,
        fold=fold,
        held_out=11 if fold else 10,
        count=report["photographs"],
        rows="\n".join(rows),
        points="\n".join(points),
        limits=LIMITS,
    )


def grading_card(verdict: Mapping[str, Any], features: int, graded: int) -> str:
    """The card of the verdicts."""
    rows, points = [], []
    for name, words in (("retinopathy", "any retinopathy"), ("referable", "referable")):
        of = verdict[name]["measured"]
        low, high = of["auc_interval"]
        rows.append(
            f"| {words} | {of['positives']} | {of['auc']:.3f} ({low:.3f} to {high:.3f}) | "
            f"{of['sensitivity']:.3f} | {of['specificity']:.3f} | {of['abstained']:.3f} | "
            f"{of['sensitivity_of_decided']:.3f} | {of['specificity_of_decided']:.3f} | "
            f"{of['calibration_error']:.3f} |"
        )
        low, high = verdict[name]["uncertain"]
        points.append(
            f"| {words} | {verdict[name]['operating_point']:.3f} | {low:.3f} | {high:.3f} | "
            f"{verdict[name]['temperature']:.2f} |"
        )
    photographs = verdict["retinopathy"]["measured"]["photographs"]
    return _GRADING.format(
        features=features,
        left_out=graded - photographs,
        photographs=photographs,
        rows="\n".join(rows),
        points="\n".join(points),
        limits=LIMITS,
    )
