"""Attack 65: nothing in a DICOM file is ever taken for a path."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from shared.imaging import UnsupportedImage, decode
from tests.shared.imaging.builders import dicom_file


def test_s65_pydicom_is_new_enough() -> None:
    """CVE-2026-32711, traversal by FileSet, is mended in 3.0.2."""
    version = tuple(int(part) for part in importlib.metadata.version("pydicom").split(".")[:3])

    assert version >= (3, 0, 2)


def test_s65_a_directory_file_is_refused_as_no_picture() -> None:
    """A DICOMDIR names files; they are not followed."""
    record = Dataset()
    record.ReferencedFileID = ["..", "..", "etc", "passwd"]
    directory = Dataset()
    directory.DirectoryRecordSequence = [record]

    with pytest.raises(UnsupportedImage, match="no picture"):
        decode(dicom_file(directory, ExplicitVRLittleEndian))


def test_s65_reading_dicom_loads_neither_filesets_nor_a_listener() -> None:
    """What is not imported cannot be reached."""
    script = (
        "import sys\n"
        "import shared.imaging.child\n"
        "print(*(m for m in ('pydicom.fileset', 'pynetdicom') if m in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == ""
