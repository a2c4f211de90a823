"""Key files: made once, private, and refused when weak."""

import stat
from pathlib import Path

import pytest

from shared.keys import WeakKey, ensure_keys, key_names, read_key


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ensure_keys(folder)
    first = {name: read_key(folder, name) for name in key_names()}
    ensure_keys(folder)

    assert {name: read_key(folder, name) for name in key_names()} == first
    assert len(set(first.values())) == len(first)
    assert all(len(key) == 32 for key in first.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_no_partial_file_stays(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(key_names())


@pytest.mark.parametrize(
    ("content", "message"), [("ab" * 16, "16 bytes"), ("secret", "hexadecimal"), ("", "0 bytes")]
)
def test_s14_a_weak_key_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "assertion-auth").write_text(content)
    with pytest.raises(WeakKey, match=message):
        read_key(tmp_path, "assertion-auth")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeakKey, match="assertion-auth"):
        read_key(tmp_path, "assertion-auth")
