"""The words and tables of the model card."""

from services.chexray.training.evaluation import Evaluation

DATASET = "NIH ChestX-ray14, 569 frontal radiographs"
INTENDED_USE = (
    "Demonstration of the chexray service: one frontal chest radiograph of an adult in, five"
    " finding probabilities and maps out. Not a medical device; not for diagnosis, triage or"
    " any decision about a patient."
)
LIMITS = (
    "Trained on 569 radiographs of one hospital with labels mined from reports (16 with edema)."
    " Ranks effusion and edema moderately and atelectasis, cardiomegaly and consolidation weakly;"
    " on AP pictures, which come from sicker patients, it is little better than chance, and part"
    " of what it knows about edema is the view. Not checked on children, lateral views, other"
    " hospitals or other devices."
)

CARD = """# chexray-mobilenet 1.0

One frontal chest radiograph in; five probabilities and five class activation maps out.
Evidence level: **demo**. {intended_use}

## Data

{dataset} of 559 patients (463 PA, 106 AP; 303 men, 266 women), resized to 512x512. The labels
were mined from report text by the publishers of the data and are noisy; nobody read the
pictures for this training. How common a finding is, and with it the probabilities, belong to
this selection and to no clinic.

Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on
Weakly-Supervised Classification and Localization of Common Thorax Diseases", CVPR 2017.

## Network

MobileNetV2 (Sandler et al., CVPR 2018) from its published ImageNet weights, without its last
projection and classifier. Blocks 0 to 6 are as published, blocks 7 to 16 fine-tuned. The
features are the activated channels of block 12 (averaged to 7x7 cells) and of block 16, 1,536
together; the head is linear on their mean over the picture.

While it trains, the network also learns nine other findings, sex, age and view from the data's
table, and five rough measures of the chest (the cardiothoracic ratio and the lungs' area,
asymmetry, base width and contrast) that a rule takes from each picture. The labels may lean on
what these heads say. All of it is linear, so it folds into the one head that the file holds, and
no age, sex or view is asked for.

A map (`cam`) averages to its logit less a constant. The maps of the average training picture
are taken off, so a positive cell says: more than usual at this place. Cells are 32 pixels wide;
they show what the network leaned on, not where a disease is.

## Measured

5-fold cross-validation, split by patient; every picture predicted once by a network that never
saw its patient. Intervals: DeLong for a label, 1,000 resamples of patients for the mean.

{table}

The operating point is where sensitivity and specificity are nearest to each other, as a cut of
the calibrated probability, sigmoid(logit / temperature). Operating points, their sensitivity
and specificity, and the temperature were chosen on the same out-of-fold predictions and are
therefore slightly flattered. Brier scores: a constant that answers the prevalence would score
the number in parentheses. ECE: ten bins of equally many cases.

The shipped file is one more network of the same recipe, trained on all 569 pictures; it was not
measured itself. {selection}

## Limits

{limits}
"""

SELECTION = (
    "The recipe was chosen by cross-validation on the same pictures, partly on other splits of"
    " them: some forty settings of linear heads on frozen features and seven of fine-tuning were"
    " compared, so the figures above are optimistic by one or two hundredths; expect less on"
    " other pictures."
)


def write_card(evaluation: Evaluation) -> str:
    """Return the model card, in Markdown."""
    return CARD.format(
        intended_use=INTENDED_USE,
        dataset=DATASET,
        table=results_table(evaluation),
        selection=SELECTION,
        limits=LIMITS,
    )


def results_table(evaluation: Evaluation) -> str:
    """Return the measurements as a Markdown table, for the card."""
    lines = [
        "| label | positives | AUC (95 %) | AUC, PA only | AUC, AP only | Brier (of prevalence)"
        " | ECE | operating point | sensitivity | specificity |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, m in evaluation.labels.items():
        views = [f"{evaluation.auc_by_view[view][label]:.3f}" for view in ("PA", "AP")]
        lines.append(
            f"| {label} | {m.positives} | {m.auc.value:.3f} ({m.auc.low:.3f}–{m.auc.high:.3f})"
            f" | {views[0]} | {views[1]} | {m.brier:.4f} ({m.brier_of_prevalence:.4f})"
            f" | {m.calibration_error:.3f} | {m.point.probability:.3f}"
            f" | {m.point.sensitivity:.2f} | {m.point.specificity:.2f} |"
        )
    mean = evaluation.mean_auc
    lines.append(f"\nMean AUC {mean.value:.3f} ({mean.low:.3f}–{mean.high:.3f}).")
    lines.append(f"Temperature {evaluation.temperature:.3f}.")
    return "\n".join(lines)
