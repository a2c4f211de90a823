"""Test vectors: pictures and the answers that a network must give to them.

They prove that the decode, the preprocessing and the network still do together what they did
when the package was made.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.imaging import decode
from shared.inference.answers import activated
from shared.inference.files import read_member
from shared.inference.manifest import Manifest, TestVector
from shared.inference.preprocess import Preprocess
from shared.inference.refusal import PackageRefused, Reason
from shared.inference.runtime import NetworkFailed
from shared.problems import Problem

MAX_VECTOR_BYTES = 16 * 1024 * 1024

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
"""From `(1, C, H, W)` to the outputs by name."""


def check_vectors(folder: Path, manifest: Manifest, preprocess: Preprocess, run: Run) -> float:
    """Run every test vector and compare; before calibration, after the activation.

    Returns:
        The largest deviation found.

    Raises:
        PackageRefused: a vector cannot be read or its answer deviates.
    """
    worst = 0.0
    for vector in manifest.test_vectors:
        batch = read_vector(folder, vector, preprocess)
        try:
            outputs = run(batch)
        except NetworkFailed as error:
            raise PackageRefused(Reason.TEST_VECTOR_FAILED, f"{vector.input}: {error}") from error
        worst = max(worst, compare(manifest, vector, outputs))
    return worst


def read_vector(folder: Path, vector: TestVector, preprocess: Preprocess) -> NDArray[np.float32]:
    """The picture of a test vector as the network's input, `(1, C, H, W)`.

    Raises:
        PackageRefused: it cannot be read, is another one, or cannot be decoded.
    """
    picture = read_member(folder, vector.input, MAX_VECTOR_BYTES, Reason.MISSING_VECTOR)
    if vector.sha256 is not None and hashlib.sha256(picture).hexdigest() != vector.sha256:
        raise PackageRefused(Reason.WRONG_SHA256, f"{vector.input} is not the picture named")
    try:
        pixels = decode(picture).pixels
    except Problem as error:
        raise PackageRefused(
            Reason.TEST_VECTOR_FAILED, f"{vector.input} cannot be decoded: {error.detail}"
        ) from error
    return preprocess(pixels)[None]


def compare(
    manifest: Manifest, vector: TestVector, outputs: Mapping[str, NDArray[np.float32]]
) -> float:
    """How far a network's outputs are from what a test vector says.

    Raises:
        PackageRefused: further than the vector's tolerance, or not comparable.
    """
    worst = 0.0
    if vector.output:
        answer = activated(manifest.output, outputs[manifest.output.name]).reshape(-1)
        worst = _deviation(vector, answer, vector.output)
    for name, expected in vector.samples.items():
        found = sampled(outputs[name], len(expected))
        worst = max(worst, _deviation(vector, found, expected))
    return worst


def sampled(output: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """`count` figures of an output, evenly spaced from its first to its last."""
    flat = output.reshape(-1)
    if flat.size < count:
        return flat
    # Whole numbers, so that the places are the same on every machine.
    places = np.arange(count, dtype=np.int64) * (flat.size - 1) // max(count - 1, 1)
    return flat[places]


def _deviation(vector: TestVector, answer: NDArray[np.float32], stated: tuple[float, ...]) -> float:
    expected = np.asarray(stated, np.float32)
    if answer.shape != expected.shape:
        raise PackageRefused(
            Reason.TEST_VECTOR_FAILED,
            f"{vector.input} gives {answer.size} figures, {expected.size} are expected",
        )
    deviation = float(np.abs(answer - expected).max())
    # A deviation that is not a number fails too.
    if not deviation <= vector.tolerance:
        raise PackageRefused(
            Reason.TEST_VECTOR_FAILED,
            f"{vector.input} deviates by {deviation:.2g}, allowed are {vector.tolerance:.2g}",
        )
    return deviation
