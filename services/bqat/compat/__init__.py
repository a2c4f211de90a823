"""The old API of BQAT, both generations of its paths, and the stateless server's two endpoints."""

from collections.abc import Sequence

from fastapi import APIRouter

from services.bqat.compat import datasets, index, preprocessing, scans, single, steering, tasks


def routers() -> Sequence[APIRouter]:
    """All of them; the more exact paths come first."""
    return (
        scans.router,
        steering.router,
        preprocessing.router,
        datasets.router,
        tasks.router,
        index.router,
        single.router,
    )
