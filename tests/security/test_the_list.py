"""docs/security.md: no number is silently dropped, and none claims a test that is not there."""

import re
import subprocess
from functools import cache

import pytest

from tests.database import ROOT

ROWS = dict(
    re.findall(r"^\| (\d+) \| .* \| (.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.M)
)


@cache
def numbers_with_tests() -> frozenset[int]:
    """The numbers in the names of test functions and test files."""
    found: set[int] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = re.findall(r"^(?:async )?def test_s(\d+)_", path.read_text(), re.MULTILINE)
        found |= {int(name) for name in names}
        if number := re.match(r"test_(\d{3})_", path.name):
            found.add(int(number[1]))
    return frozenset(found)


@pytest.mark.parametrize("number", range(1, 86))
def test_every_number_is_tested_or_explained(number: int) -> None:
    held_by = ROWS[str(number)]
    if held_by == "tests":
        assert number in numbers_with_tests()
    else:
        assert held_by.startswith("does not apply")
        assert number not in numbers_with_tests()


# Shapes of secrets that are never meant: private keys, cloud keys, tokens that were really signed.
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|AKIA[0-9A-Z]{16}|eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{40,}"
    rb"|\bvdt_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}"
)


def test_s81_the_repository_holds_no_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert files
    assert [path for path in files if path.is_file() and SECRETS.search(path.read_bytes())] == []
