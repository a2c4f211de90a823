"""Evaluations kept beside a package."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.evaluation.local import from_json, local_evidence, store_evidence, to_json
from shared.evaluation.run import Excluded
from tests.shared.evaluation.support import measured, sample

EVALUATION = measured(sample(), by=("view",), excluded=(Excluded("ann-smith.png", "missing", ""),))


def test_an_evaluation_survives_json() -> None:
    assert from_json(to_json(EVALUATION)) == EVALUATION


def test_what_is_stored_is_found_by_the_packages_name(tmp_path: Path) -> None:
    path = store_evidence(tmp_path, EVALUATION)

    assert path.parent == tmp_path / "evidence" / "stub@1.0"
    assert local_evidence(tmp_path, "stub@1.0") == (replace(EVALUATION, excluded=()),)
    assert local_evidence(tmp_path, "stub@2.0") == ()


def test_names_of_files_are_not_kept(tmp_path: Path) -> None:
    """They often name patients; how many were left out is kept."""
    record = store_evidence(tmp_path, EVALUATION).read_bytes()

    assert b"ann-smith" not in record
    assert from_json(record).dataset.excluded == {"missing": 1}


def test_storing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    assert store_evidence(tmp_path, EVALUATION) == store_evidence(tmp_path, EVALUATION)
    assert len(list((tmp_path / "evidence" / "stub@1.0").iterdir())) == 1


def test_the_newest_comes_first(tmp_path: Path) -> None:
    later = replace(EVALUATION, evaluated_at=EVALUATION.evaluated_at + timedelta(days=1))
    store_evidence(tmp_path, later)
    store_evidence(tmp_path, EVALUATION)

    assert [each.evaluated_at for each in local_evidence(tmp_path, "stub@1.0")] == [
        later.evaluated_at,
        EVALUATION.evaluated_at,
    ]


def test_a_record_that_was_changed_is_passed_over(tmp_path: Path) -> None:
    """Its name is the hash of its content."""
    path = store_evidence(tmp_path, EVALUATION)
    path.write_bytes(path.read_bytes().replace(b'"ward 3"', b'"ward 4"'))

    assert local_evidence(tmp_path, "stub@1.0") == ()


@pytest.mark.parametrize("name", ["stub", "../x@1.0", "a/b@1", "stub@..", "stub@1/../..", ""])
def test_a_name_that_is_no_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no id@version"):
        local_evidence(tmp_path, name)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"no json"])
def test_what_is_no_evaluation_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="no evaluation"):
        from_json(text)


def test_another_format_is_refused() -> None:
    other = to_json(replace(EVALUATION, format="vedette-evaluation/9"))

    with pytest.raises(ValueError, match="vedette-evaluation/9"):
        from_json(other)
