"""Objects that come and go as files."""

from pathlib import Path

import pytest

from shared.objects import LargeObjects, ObjectNotFound, open_objects

SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture(params=["file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> LargeObjects:
    """A store of each kind."""
    return open_objects(f"file://{tmp_path}/kept" if request.param == "file" else "memory:///")


def files_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, its folders left out."""
    return [each.name for each in folder.iterdir() if each.is_file()]


async def test_a_file_that_was_put_is_a_file_again(objects: LargeObjects, tmp_path: Path) -> None:
    """And is there for those who read bytes."""
    upload = tmp_path / "upload"
    upload.write_bytes(b"hello")
    await objects.put_file(upload, SHA256)

    assert await objects.get(SHA256) == b"hello"
    async with objects.as_file(SHA256, tmp_path) as path:
        assert path.read_bytes() == b"hello"


async def test_a_copy_that_was_made_to_be_read_is_removed(
    objects: LargeObjects, tmp_path: Path
) -> None:
    """Whoever reads leaves nothing in the scratch folder."""
    upload = tmp_path / "upload"
    upload.write_bytes(b"hello")
    await objects.put_file(upload, SHA256)
    upload.unlink(missing_ok=True)
    async with objects.as_file(SHA256, tmp_path):
        pass

    assert files_in(tmp_path) == []


async def test_what_is_absent_is_no_file(objects: LargeObjects, tmp_path: Path) -> None:
    """As `get` says it."""
    with pytest.raises(ObjectNotFound):
        async with objects.as_file(SHA256, tmp_path):
            pass
