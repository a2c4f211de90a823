"""The words and tables of the model card."""

from dataclasses import dataclass

from services.scancer.training.evaluation import Evaluation
from services.scancer.training.further import PER_PATCH
from shared.evaluation.ranking import Area

DATASET = "PatchCamelyon, 4,000 patches"
INTENDED_USE = (
    "Research: whether the middle 32 x 32 px of a 96 x 96 px patch of a lymph node, stained with"
    " haematoxylin and eosin and scanned at about 0.97 micrometres per pixel, hold tumour. Not a"
    " medical device; not for diagnosis."
)
LIMITS = (
    "Only the middle 32 x 32 px decide the label: tumour beside them makes a patch no positive."
    " Sentinel lymph nodes of two Dutch hospitals, two scanners, one stain. Patches of one slide"
    " lie on both sides of the split, so expect less on slides of other laboratories."
    " Not checked on other organs, frozen sections or other magnifications."
)

CARD = """# pcam-classification 1.2

One patch of a lymph node in, the probability of tumour out.
Evidence level: **research**. {intended_use}

**Only the middle 32 x 32 px of a patch decide its label.** What surrounds them is context; a patch
with tumour only at its rim is labelled, and should be answered, `no_tumor`.

## Data

{dataset} (1,616 with tumour), 96 x 96 px, as JPEG of quality 95. PatchCamelyon (Veeling et al.,
"Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018; CC0) is cut from the Camelyon16
slides (Bejnordi et al., JAMA 2017), whose metastases pathologists outlined. The files do not say
which slide a patch is from.

## Network

A residual network of {convolutions} convolutions over the group p4m: every filter is used in four
quarter turns and their mirror images, so a turned or mirrored patch gets the same answer by
construction. It reads the middle 80 x 80 px. The file holds the filters written out as plain
convolutions ({kilobytes} kB, {parameters:,} free parameters).

It was trained from random weights on the labels and with a teacher: the p4m DenseNet of Romero et
al. (ICML 2020; dwromero/att_gconvs, MIT), which `vedette models pull p4m-densenet-pcam` fetches.
{soft:.0%} of a labelled patch's target is the teacher's probability for it, and the network has to
guess what one of the teacher's layers answers cell by cell, and the averages of its later ones.
From every labelled patch {further} more were made that only the teacher judged: turned, zoomed and
shifted by up to 22 px, so that other tissue is in the middle, and mixtures of two. Nothing of the
teacher is in the file. While training, the amounts of the two dyes vary, and patches shift by up to
4 px.

## Measured

{how}

{table}

The temperature and the operating point (where sensitivity and specificity are nearest to each
other, as a cut of the calibrated probability) were chosen on the same predictions, which flatters
them slightly. {shipped}

What makes these figures optimistic: patches of one slide, even neighbours, lie on both sides of the
split; five recipes were compared, four on one fifth of the patches and the last on another; and the
teacher was trained on the official training split, which most of these patches probably belong to.
It reaches {teacher_accuracy:.1%} (AUC {teacher_area:.3f}) on the patches above, and {published:.1%}
on the official test split by its authors' log. What it learned from patches that this network is
measured on reaches this network only through its answers to other patches, but those answers rest
on many more labels than 4,000.

## Limits

{limits}
"""
#: The teacher's accuracy on the official test split, by its authors' log.
PUBLISHED_ACCURACY = 0.891


@dataclass(frozen=True, slots=True)
class Split:
    """How the figures came about, in words.

    Attributes:
        name: for the manifest.
        how: which patches were predicted by a network that did not learn from them.
        shipped: what the shipped file has to do with the measured network.
    """

    name: str
    how: str
    shipped: str


CROSS_VALIDATION = Split(
    "5-fold cross-validation, out of fold",
    "5-fold cross-validation: each patch is predicted once, by a network that did not learn from"
    " it.",
    "The shipped file is one more network of the same recipe, trained on all 4,000 patches; it was"
    " not measured itself.",
)
HOLD_OUT = Split(
    "800 patches held out at random, 3,200 learned from",
    "800 patches were held out at random; the network learned from the other 3,200.",
    "The shipped file is the measured network.",
)


def write_card(
    evaluation: Evaluation,
    split: Split,
    *,
    convolutions: int,
    parameters: int,
    graph_bytes: int,
    soft: float,
) -> str:
    """The model card, in Markdown."""
    return CARD.format(
        intended_use=INTENDED_USE,
        dataset=DATASET,
        limits=LIMITS,
        how=split.how,
        shipped=split.shipped,
        table=results_table(evaluation),
        convolutions=convolutions,
        parameters=parameters,
        kilobytes=round(graph_bytes / 1000),
        soft=soft,
        further=PER_PATCH,
        teacher_accuracy=evaluation.teacher_accuracy,
        teacher_area=evaluation.teacher_area.value,
        published=PUBLISHED_ACCURACY,
    )


def with_interval(area: Area) -> str:
    """An area as tables show it."""
    return f"{area.value:.3f} ({area.low:.3f}–{area.high:.3f})"


def results_table(evaluation: Evaluation) -> str:
    """The measurements as a Markdown table."""
    point = evaluation.point
    rows = (
        ("patches, with tumour", f"{evaluation.cases}, {evaluation.positives}"),
        ("AUC (95 %, DeLong)", with_interval(evaluation.area)),
        (
            f"AUC on the {evaluation.share_accepted:.1%} that the gate accepts",
            with_interval(evaluation.area_where_accepted),
        ),
        ("accuracy at 0.5", f"{evaluation.accuracy:.1%}"),
        ("temperature", f"{evaluation.temperature:.3f}"),
        (
            "Brier score, calibrated (of a constant)",
            f"{evaluation.brier:.4f} ({evaluation.brier_of_prevalence:.4f})",
        ),
        ("expected calibration error, 10 bins", f"{evaluation.calibration_error:.3f}"),
        ("operating point", f"{point.probability:.3f}"),
        ("sensitivity there (95 %)", _share(point.sensitivity)),
        ("specificity there (95 %)", _share(point.specificity)),
    )
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)])


def _share(proportion: object) -> str:
    value, low, high = (getattr(proportion, name) for name in ("value", "low", "high"))
    return f"{value:.3f} ({low:.3f}–{high:.3f})"
