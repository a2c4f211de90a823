"""Every column that the engines of fingerprints, irises and speech emit is described."""

import numpy as np
import pytest

from services.bqat.engines import create_assessor
from services.bqat.engines.specification import SPECIFICATION
from shared.settings import Settings
from tests.services.bqat.engines.drawings import eye, finger, to_bytes, wav


@pytest.mark.parametrize(
    ("modality", "engine", "content"),
    [
        ("fingerprint", None, to_bytes(finger(noise=40))),
        ("finger", None, to_bytes(finger(noise=40))),
        ("iris", "iso", to_bytes(eye())),
        ("iris", "biqt", to_bytes(eye())),
        ("speech", None, wav(np.sin(np.arange(16_000) / 5))),
    ],
)
def test_every_column_is_specified(
    modality: str, engine: str | None, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assessor = create_assessor(Settings(home=tmp_path_factory.mktemp("home")))

    found = assessor.assess(modality, content, file_name="a", engine=engine, options={})

    described = assessor.specification()["fingerprint" if modality == "finger" else modality]
    assert set(found.profile) - set(described) == set()


def test_every_description_is_a_sentence() -> None:
    for columns in SPECIFICATION.values():
        assert all(text.endswith(".") and text[0].isupper() for text in columns.values())
