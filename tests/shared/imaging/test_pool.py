"""Decoding in threads and child processes."""

import os
import signal
import threading
from collections.abc import AsyncGenerator

import anyio
import numpy as np
import pytest

from shared.imaging import (
    DecodePool,
    ImageTooLarge,
    Limits,
    Picture,
    ThreadDecoder,
    UnreadableImage,
    UnsupportedImage,
    decode,
    decode_in_pool,
)
from tests.shared.imaging.builders import dicom, dicom_dataset, dicom_file, encoded, gradient


@pytest.fixture
async def pool() -> AsyncGenerator[DecodePool]:
    """One worker, so that the order of things is certain."""
    async with DecodePool(1) as opened:
        yield opened


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
async def test_a_pool_decodes_as_the_function_does(pool: DecodePool, image_format: str) -> None:
    """Where a picture is decoded makes no difference to what is seen."""
    data = encoded(gradient(), image_format)

    pooled, direct = await pool.decode(data), decode(data)

    np.testing.assert_array_equal(pooled.pixels, direct.pixels)
    assert (pooled.format, pooled.notes) == (direct.format, direct.notes)


async def test_dicom_facts_come_back_from_the_child(pool: DecodePool) -> None:
    """All of them, with their types."""
    data = dicom(gradient(), PixelSpacing=[0.2, 0.3], PatientOrientation=["L", "F"])

    assert (await pool.decode(data)).dicom == decode(data).dicom


async def test_problems_come_back_from_the_child(pool: DecodePool) -> None:
    """With their type, detail and members."""
    with pytest.raises(UnsupportedImage, match="samples per pixel"):
        await pool.decode(dicom(gradient(), SamplesPerPixel=2))
    with pytest.raises(ImageTooLarge) as caught:
        await pool.decode(dicom_file(dicom_dataset(gradient(), NumberOfFrames=10**9)))
    assert caught.value.extensions == {"limit": 1000}


async def test_a_child_serves_one_picture_after_the_other(pool: DecodePool) -> None:
    """A refused picture does not spoil it for the next."""
    with pytest.raises(UnreadableImage):
        await pool.decode(encoded(gradient(), "TIFF")[:100])

    assert (await pool.decode(encoded(gradient(), "TIFF"))).pixels.shape == (24, 32)


async def test_a_child_that_is_killed_costs_one_picture() -> None:
    """As a crash in a native decoder would."""
    async with DecodePool(1) as pool:
        await pool.decode(encoded(gradient(), "TIFF"))
        os.kill(pool.child_pids()[0], signal.SIGKILL)

        with pytest.raises(UnreadableImage):
            await pool.decode(encoded(gradient(), "TIFF"))

        assert (await pool.decode(encoded(gradient(), "TIFF"))).pixels.shape == (24, 32)


async def test_a_picture_that_takes_too_long_is_given_up() -> None:
    """Its process is ended, and the next picture gets a new one."""
    async with DecodePool(1, timeout_s=1e-6) as pool:
        with pytest.raises(ImageTooLarge, match="longer than"):
            await pool.decode(encoded(gradient(), "TIFF"))

        assert pool.child_pids() == ()


async def test_a_picture_that_needs_too_much_memory_is_refused() -> None:
    """The ceiling is the child's, not the service's."""
    large = encoded(np.zeros((9000, 9000), dtype=np.uint8), "TIFF", compression="tiff_deflate")

    async with DecodePool(1, memory_bytes=64 * 1024**2) as pool:
        with pytest.raises((ImageTooLarge, UnreadableImage)):
            await pool.decode(large)


async def test_leaving_the_pool_ends_its_children() -> None:
    """None of them outlives the service."""
    async with DecodePool(2) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(pool.decode, encoded(gradient(), "TIFF"))
        pids = pool.child_pids()

    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_many_pictures_at_once_all_get_their_turn() -> None:
    """More than there are workers, of both kinds."""
    shapes: list[tuple[int, ...]] = []

    async def decode_one(pool: DecodePool, side_px: int, image_format: str) -> None:
        picture = await pool.decode(encoded(gradient(side_px, side_px), image_format))
        shapes.append(picture.pixels.shape)

    async with DecodePool(2) as pool, anyio.create_task_group() as tasks:
        for side_px in range(10, 20):
            tasks.start_soon(decode_one, pool, side_px, "TIFF")
            tasks.start_soon(decode_one, pool, side_px, "PNG")

    assert sorted(shapes) == sorted((side, side) for side in range(10, 20) for _ in range(2))


async def test_limits_are_checked_before_a_worker_is_taken() -> None:
    """Refusing is cheap."""
    async with DecodePool(1, Limits(max_bytes=10)) as pool:
        with pytest.raises(ImageTooLarge):
            await pool.decode(encoded(gradient(), "PNG"))


async def test_the_plain_function_runs_in_a_bounded_thread() -> None:
    """For callers that bring their own limiter."""
    limiter = anyio.CapacityLimiter(1)

    picture = await decode_in_pool(encoded(gradient(), "PNG"), limiter=limiter)

    np.testing.assert_array_equal(picture.pixels, gradient())


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF"])
async def test_work_on_a_picture_is_done_where_it_is_decoded(
    pool: DecodePool, image_format: str
) -> None:
    """In a worker thread, whatever the format; a thread decoder answers the same."""

    def work(found: Picture) -> tuple[bytes, bool]:
        return found.pixels.tobytes(), threading.current_thread() is threading.main_thread()

    data = encoded(gradient(), image_format)
    expected = (decode(data).pixels.tobytes(), False)
    assert await pool.apply(work, data) == expected
    assert await ThreadDecoder(1).apply(work, data) == expected


async def test_what_is_refused_is_refused_wherever_it_is_decoded(pool: DecodePool) -> None:
    with pytest.raises(UnsupportedImage):
        await pool.apply(Picture.to_gray, b"no picture")
    with pytest.raises(UnsupportedImage):
        await ThreadDecoder(1).apply(Picture.to_gray, b"no picture")
