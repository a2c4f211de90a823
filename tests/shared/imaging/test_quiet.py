"""Decoders grumble about strangers' files, and neither our log nor our warnings carry it on."""

import logging
import threading
import warnings

import numpy as np
import pytest

from shared.imaging import decode
from shared.imaging.quiet import quieten_decoders
from tests.shared.imaging.builders import dicom_dataset, dicom_file, gradient


def grumbled_about() -> bytes:
    """A DICOM file with bytes behind its pixels, which pydicom warns about."""
    dataset = dicom_dataset(gradient())
    dataset.PixelData += bytes(400)
    return dicom_file(dataset)


def test_a_warning_of_the_decoder_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The suite turns warnings into errors; pydicom's must not become one."""
    with caplog.at_level(logging.DEBUG):
        picture = decode(grumbled_about())

    np.testing.assert_array_equal(picture.pixels, gradient())
    assert caplog.records == []


def test_the_rule_holds_inside_stricter_rules() -> None:
    """A test runner puts its own rules in front of ours, for each test anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        decode(grumbled_about())


def test_other_warnings_are_left_alone() -> None:
    """The rule is for the decoders' modules only."""
    quieten_decoders()

    with pytest.raises(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)


def test_many_threads_add_the_rule_once() -> None:
    """The list of rules does not grow with every picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = len(warnings.filters)
        threads = [threading.Thread(target=quieten_decoders) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(warnings.filters) <= before + 1
