"""Why a model package is not loaded: one word per cause."""

from enum import StrEnum


class Reason(StrEnum):
    """The cause of a refusal."""

    MISSING_MANIFEST = "missing-manifest"
    BAD_MANIFEST = "bad-manifest"
    NO_TEST_VECTORS = "no-test-vectors"
    BAD_ARCHIVE = "bad-archive"
    UNSAFE_PATH = "unsafe-path"
    MISSING_NETWORK = "missing-network"
    TOO_LARGE = "too-large"
    WRONG_SHA256 = "wrong-sha256"
    BAD_GRAPH = "bad-graph"
    OPSET = "opset"
    CUSTOM_OPERATOR = "custom-operator"
    EXTERNAL_DATA = "external-data"
    SHAPE_MISMATCH = "shape-mismatch"
    MISSING_VECTOR = "missing-vector"
    TEST_VECTOR_FAILED = "test-vector-failed"
    TIMED_OUT = "timed-out"


class PackageRefused(Exception):
    """A model package is not loaded; `reason` is for programs, `detail` for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
