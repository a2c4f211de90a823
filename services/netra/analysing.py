"""What looks at photographs in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from services.netra.analysis.analyser import Analyser, create_analyser
from services.netra.settings import Settings
from shared.inference import Engine


@contextmanager
def open_analyser(settings: Settings) -> Iterator[Analyser]:
    """The rules and the networks of this repository, verified and loaded.

    Raises:
        PackageRefused: a package is not what its manifest says.
        ValueError: the verdict was fitted to other networks.
    """
    # Photographs are looked at side by side; OpenCV's own threads would only fight for cores.
    cv2.setNumThreads(1)
    with Engine(settings.device, settings.threads) as engine:
        yield create_analyser(engine)
