"""Objects: whole or absent, once, under the sha256 of their content."""

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.objects import (
    LocalObjects,
    ObjectNotFound,
    Objects,
    StorageFull,
    object_key,
    open_objects,
    sweep,
)

CONTENT = b"a radiograph"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def files_in(folder: Path) -> list[str]:
    """The names of all files below `folder`."""
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(params=["file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """A local folder with a space in its name, and a store behind obstore."""
    if request.param == "file":
        return open_objects(f"file://{tmp_path}/my%20objects")
    return open_objects("memory:///")


async def test_what_is_put_can_be_got(objects: Objects) -> None:
    assert not await objects.exists(SHA256)
    assert await objects.put(CONTENT) == SHA256
    assert await objects.put(CONTENT) == SHA256
    assert await objects.get(SHA256) == CONTENT
    assert await objects.exists(SHA256)


async def test_a_put_is_begun_in_any_thread(objects: Objects) -> None:
    begun = await asyncio.to_thread(objects.begin_put, CONTENT, asyncio.get_running_loop())
    assert await asyncio.wrap_future(begun) == SHA256
    assert await objects.get(SHA256) == CONTENT


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(objects: Objects) -> None:
    await objects.put(CONTENT)
    await objects.delete(SHA256)
    await objects.delete(SHA256)
    with pytest.raises(ObjectNotFound):
        await objects.get(SHA256)


@given(st.text(max_size=80))
def test_s60_a_key_never_holds_a_path(name: str) -> None:
    if len(name) == 64 and set(name) <= set("0123456789abcdef"):
        assert object_key(name) == f"{name[:2]}/{name}"
    else:
        with pytest.raises(ValueError, match="sha256"):
            object_key(name)


def test_s60_a_newline_behind_the_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="sha256"):
        object_key(SHA256 + "\n")


async def test_the_sweep_takes_old_objects_that_nothing_refers_to(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    old_kept, old_loose, young = [await objects.put(bytes([i])) for i in range(3)]
    a_day_ago = time.time() - 90_000
    for name in (old_kept, old_loose):
        os.utime(tmp_path / object_key(name), (a_day_ago, a_day_ago))
    partial = tmp_path / object_key(old_kept)
    partial = partial.with_name(".0123.partial")
    partial.touch()
    os.utime(partial, (a_day_ago, a_day_ago))

    async def referenced(names: Sequence[str]) -> set[str]:
        return {old_kept} & set(names)

    assert await sweep(objects, 86_400, referenced) == 1
    assert [await objects.exists(name) for name in (old_kept, old_loose, young)] == [
        True,
        False,
        True,
    ]
    assert not partial.exists()


async def test_an_object_that_is_put_again_escapes_the_sweep(tmp_path: Path) -> None:
    """Between the sweep's look and its deletion an upload may bring the same picture."""
    objects = LocalObjects(tmp_path)
    name = await objects.put(CONTENT)
    os.utime(tmp_path / object_key(name), (0, 0))

    async def uploaded_meanwhile(names: Sequence[str]) -> set[str]:
        await objects.put(CONTENT)
        return set()

    await sweep(objects, 86_400, uploaded_meanwhile)
    assert await objects.get(name) == CONTENT


async def test_a_cut_object_is_written_again(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    name = await objects.put(CONTENT)
    (tmp_path / object_key(name)).write_bytes(CONTENT[:3])
    await objects.put(CONTENT)
    assert await objects.get(name) == CONTENT


@pytest.mark.parametrize("step", ["open", "write", "fsync"])
async def test_a_full_disk_is_507_and_leaves_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    objects = LocalObjects(tmp_path)
    monkeypatch.setattr(f"shared.objects.os.{step}", fail)
    with pytest.raises(StorageFull) as caught:
        await objects.put(CONTENT)
    monkeypatch.undo()
    assert caught.value.status == 507
    assert files_in(tmp_path) == []
    assert await objects.put(CONTENT) == SHA256


async def test_parallel_puts_of_one_picture_agree(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    names = await asyncio.gather(*(objects.put(CONTENT) for _ in range(20)))
    assert set(names) == {SHA256}
    assert files_in(tmp_path) == [SHA256]
