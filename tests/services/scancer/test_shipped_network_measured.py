"""What the shipped network's card says, recomputed on the patches of `VEDETTE_ASSETS`.

The network that is shipped has learned from all of these patches; its card holds the figures of
five others of the same recipe, each of which was measured on the fifth that it did not see. Their
answers are beside the training, in the order of `labels.csv`.
"""

import csv
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from shared.evaluation.ranking import delong_area
from shared.imaging import decode
from shared.inference import ModelPackage, load_package
from tests.database import ROOT
from tests.services.scancer.test_shipped_network import PACKAGE

ASSETS = Path(os.environ.get("VEDETTE_ASSETS", ""))
OUT_OF_FOLD = ROOT / "services" / "scancer" / "training" / "out-of-fold-logits.txt"

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(
        not os.environ.get("VEDETTE_ASSETS"), reason="VEDETTE_ASSETS does not name the pictures"
    ),
]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """The patches' files and labels."""
    with (ASSETS / "pcam" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    """What is shipped."""
    return load_package(PACKAGE)


@pytest.fixture(scope="module")
def out_of_fold() -> NDArray[np.float64]:
    """For each patch the logit of a network that did not see it, `(N,)`."""
    return np.loadtxt(OUT_OF_FOLD)


def tumour_in(rows: list[dict[str, str]]) -> NDArray[np.bool_]:
    """Which patches hold tumour."""
    return np.array([row["tumor"] == "1" for row in rows])


def test_the_card_states_what_networks_found_in_patches_that_they_had_not_seen(
    rows: list[dict[str, str]], package: ModelPackage, out_of_fold: NDArray[np.float64]
) -> None:
    """Figure and interval."""
    stated = package.manifest.card.measured[0]
    found = delong_area(tumour_in(rows), out_of_fold)

    assert stated.n == len(rows) == len(out_of_fold)
    assert found.value == pytest.approx(stated.value, abs=0.0006)
    assert stated.interval is not None
    assert (found.low, found.high) == pytest.approx(stated.interval, abs=0.0006)


def test_patches_that_were_not_seen_are_ranked_as_well_as_wanted(
    rows: list[dict[str, str]], out_of_fold: NDArray[np.float64]
) -> None:
    """The whole interval lies above the target."""
    found = delong_area(tumour_in(rows), out_of_fold)

    assert found.low is not None
    assert found.low >= 0.94


def test_the_shipped_network_is_of_the_same_kind(
    rows: list[dict[str, str]], package: ModelPackage, out_of_fold: NDArray[np.float64]
) -> None:
    """It answers as those five did, and ranks what it has learned from no worse."""
    session = onnxruntime.InferenceSession(
        package.read_network(), providers=["CPUExecutionProvider"]
    )
    some = range(0, len(rows), 5)
    patches = [
        decode((ASSETS / "pcam" / "patches" / rows[place]["file"]).read_bytes()).pixels
        for place in some
    ]
    logits = np.concatenate(
        [
            session.run(["logit"], {"image": package.preprocess(patch)[np.newaxis]})[0][0]
            for patch in patches
        ]
    )
    agreement = np.corrcoef(logits, out_of_fold[::5])[0, 1]
    found = delong_area(tumour_in(rows)[::5], logits.astype(np.float64))

    assert agreement > 0.9
    assert found.value >= package.manifest.card.measured[0].value
