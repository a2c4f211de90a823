"""Model packages and the engine that runs their networks."""

from shared.inference.batching import Outputs, Priority
from shared.inference.engine import Engine
from shared.inference.errors import EngineBusy, EngineStopped, InferenceDeadline, OutOfMemory
from shared.inference.evidence import (
    Evidence,
    EvidencePolicy,
    EvidenceRefused,
    enforce_evidence,
    evidence_headers,
)
from shared.inference.manifest import Manifest
from shared.inference.network import Network
from shared.inference.package import ModelPackage, PackageRefused, load_package
from shared.inference.preprocess import Preprocess, compile_preprocess
from shared.inference.reading import read_picture
from shared.inference.served import Served
from shared.inference.store import PackageNotFound, resolve_package

__all__ = [
    "Engine",
    "EngineBusy",
    "EngineStopped",
    "Evidence",
    "EvidencePolicy",
    "EvidenceRefused",
    "InferenceDeadline",
    "Manifest",
    "ModelPackage",
    "Network",
    "OutOfMemory",
    "Outputs",
    "PackageNotFound",
    "PackageRefused",
    "Preprocess",
    "Priority",
    "Served",
    "compile_preprocess",
    "enforce_evidence",
    "evidence_headers",
    "load_package",
    "read_picture",
    "resolve_package",
]
